"""Qualcomm's Hexagon NPU (HTP) as hardware without a device: estimates of Qualcomm's own compiler."""
