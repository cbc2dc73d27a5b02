"""Verification of files: at export time, on disk (`mhmodels verify`), and between the formats of one network."""
