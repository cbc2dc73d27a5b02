"""Fake quantisation after Jacob et al. (arXiv 1712.05877): ranges from calibration, integers from ranges."""
