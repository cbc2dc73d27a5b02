"""Adaptation of latencies of other hardware to a new one from a few measurements (arXiv 2111.01203)."""
