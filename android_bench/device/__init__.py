"""What a phone is and how it is: identity, cores, temperature, settings."""
