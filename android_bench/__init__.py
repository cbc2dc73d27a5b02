"""Latency of TFLite files on Android phones over ADB, every delegate."""
