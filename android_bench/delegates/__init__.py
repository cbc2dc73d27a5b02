"""Delegates as data, the tool that runs them and its command line."""
