"""Arm's Vela compiler as hardware without a device: estimates for Ethos-U NPUs."""
