"""Writing TFLite files: the direct writer, the TensorFlow converter, metadata, manifests."""
