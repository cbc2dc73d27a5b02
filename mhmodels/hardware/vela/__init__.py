"""Arm Ethos-U NPUs as hardware, through the Vela compiler in child processes."""
