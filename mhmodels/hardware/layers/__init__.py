"""What each layer of a network costs on a hardware: the profile as data, layers of a file, and asking a runner for a profile.

How a tool is asked lies beside its runner: `vela/layers.py` for Vela's table, `host/layers.py` for LiteRT's profiler.
"""
