"""What benchmark tools print, read into data."""
