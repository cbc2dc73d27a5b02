"""The operating system: files, locks, databases, child processes, places of caches, text for terminals."""
