"""State dicts of PyTorch packages as sources: names, layouts, and files, which are read without PyTorch."""
