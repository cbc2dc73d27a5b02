"""Search spaces, cost models and the search for multi-hardware networks."""
