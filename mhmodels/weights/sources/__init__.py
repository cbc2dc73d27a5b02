"""Foreign weights as sources: TensorFlow checkpoints, Keras files, HDF5."""
