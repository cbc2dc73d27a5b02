"""Cost models: latency on one hardware as a function of the architecture, fitted to latencies of random samples."""
