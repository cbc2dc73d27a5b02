"""The commands `mhmodels export`, `verify` and `consistency`, one module each."""
