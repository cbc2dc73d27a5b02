"""A training run on disk: its folder, checkpoints, interrupts, progress and learning curve."""
