"""What every package needs of the operating system."""
