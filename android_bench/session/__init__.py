"""Measuring on one phone: blocks in turns, series, and rows for the store."""
