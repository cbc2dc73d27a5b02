"""The zoo: one table file per family."""
