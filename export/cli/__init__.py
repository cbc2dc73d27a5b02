"""`mhmodels export`, `verify` and `consistency`."""
