"""Training the shared weights: data, schedule of sampled networks, and the compiled steps."""
