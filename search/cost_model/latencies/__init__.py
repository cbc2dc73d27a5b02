"""Latencies to fit cost models to, read from files and stores, with their origin, unit and baselines."""
