"""`mhmodels search`: one module a command, shared options beside them."""
