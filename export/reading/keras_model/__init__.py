"""Reading Keras models: opening their files safely, and finding the operation that each of their layers is."""
