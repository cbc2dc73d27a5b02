"""The command line: the root group, and one module a command. Only here do all packages meet."""
