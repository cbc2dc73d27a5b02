"""Training data: sources of pictures, augmentation, and tf.data pipelines."""
