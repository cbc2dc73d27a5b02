"""What people read: tables of latencies and norms, each figure with its kind."""
