"""Regression without knowledge of networks: ridge regression, and robust fits that set wrong values aside."""
