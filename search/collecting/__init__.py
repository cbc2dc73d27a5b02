"""Collects latencies of many networks on many hardware: resumable, robust to noise and drift, on devices and clusters."""
