"""Registered weights and their download."""
