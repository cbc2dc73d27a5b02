"""Consistency: whether the formats of one network lead to the same scores and decisions on every runner of this machine."""
