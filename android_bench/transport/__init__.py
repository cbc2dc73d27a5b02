"""Talking to a phone: the adb executable, shells and files."""
