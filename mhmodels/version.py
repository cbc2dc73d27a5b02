"""The version of this package, for provenance in files; a module of its own, so that whoever writes it imports nothing else."""

__version__ = "0.1.0"
