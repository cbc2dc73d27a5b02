"""From an architecture or a Keras model to TFLite files that say the same on every chip."""

if __name__ != "mhmodels.export":
    raise ImportError("this package is imported as mhmodels.export")
