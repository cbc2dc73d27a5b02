"""A session on one phone: working folder, settings, blocks, outcomes and rows."""
