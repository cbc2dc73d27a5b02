"""Compilers and estimators of chip vendors, each in a Python environment of its own that the user installs on request.

Their requirements contradict those of this package, and their licences forbid shipping them. `catalogue.py` declares the tools
as data, `environment.py` installs and removes their environments, and `running.py` asks a tool a question in a child process.
"""
