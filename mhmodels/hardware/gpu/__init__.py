"""This machine's GPU through LiteRT's GPU accelerator, which computes with Vulkan."""
