"""`mhmodels search adapt`: options, sources, the target, and what is shown."""
