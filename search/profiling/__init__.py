"""Profiles of blocks: how friendly a block is to a hardware, from measurements of whole networks (arXiv 2109.12426)."""
