"""Rockchip's NPUs as hardware without a device: the cycles that Rockchip's own compiler counts for every layer."""
