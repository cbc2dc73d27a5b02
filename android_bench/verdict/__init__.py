"""Whether a run proves what it measured: proof of the delegate, and the status of a run."""
