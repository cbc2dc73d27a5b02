"""Talking to a phone: the adb executable, shells, files, and the working folder on the phone."""
