"""Whether the output of a run proves what was measured: proof of the delegate, and the status of the run."""
