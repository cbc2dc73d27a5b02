"""Objectives of a search: sources of accuracies and latencies, and the rewards that combine them."""
