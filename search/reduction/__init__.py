"""Reduction of a space: blocks and layers that do not pay on some hardware are removed, by intervals of their profiles."""
