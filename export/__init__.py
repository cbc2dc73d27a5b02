"""From an architecture or a Keras model to TFLite files that say the same on every chip."""
