"""What a phone is and in which condition it is: identity, cores, temperature, battery, settings."""
