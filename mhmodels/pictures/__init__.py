"""Thirteen real photographs for calibration and parity checks; README.md lists author, licence and source of each."""
