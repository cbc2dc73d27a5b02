"""Verification: a file against its network at export time, `verify`, and consistency between formats."""
