"""What the package asks of the operating system: files, locks, databases, text for terminals. Standard library only."""
