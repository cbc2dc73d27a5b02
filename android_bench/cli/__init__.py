"""`mhmodels devices`."""
