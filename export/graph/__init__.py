"""The graph between reading and writing: operations, each convolution with one kernel and one bias."""
