"""Where accuracies and latencies of a search come from: tables, predictors, functions, cost models."""
