"""Reading: Keras models as operations, the pictures that a network takes, and their preprocessing."""
