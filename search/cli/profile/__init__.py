"""`mhmodels search profile`: which blocks suit which hardware."""
