"""TFLite files without a runtime: tensors, operators, and the number format that a file computes in."""
