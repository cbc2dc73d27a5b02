"""Reading what is to be exported: architectures and Keras models, their weights and their preprocessing."""
