"""Adapted cost models: a Gaussian process over log latencies whose prior comes from other hardware (prediction only)."""
