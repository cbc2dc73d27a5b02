"""Reading what benchmark tools print and write."""
