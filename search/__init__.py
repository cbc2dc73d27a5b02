"""Search spaces, cost models and the search for multi-hardware networks."""

if __name__ != "mhmodels.search":
    raise ImportError("this package is imported as mhmodels.search")
