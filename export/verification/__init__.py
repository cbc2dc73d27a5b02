"""Verification of files: at export time, and on disk (`mhmodels verify`)."""
