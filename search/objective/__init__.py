"""What a search maximises: accuracies from tables, predictors or shared weights, and rewards that take latencies into account."""
