"""Latencies to fit cost models to: files and stores, their units, and the zoo networks measured beside a sample."""
