"""Limits of PyTorch's files, which are checked before anything of that size is read."""

LARGEST_HEADER = 8 << 20
"""Bytes of the header of a safetensors file; one of the zoo's largest network takes 60 KB."""

LARGEST_PICKLE = 16 << 20
"""Bytes of the pickled description in a `.pth` file, without the values of tensors."""

MOST_TENSORS = 10_000
"""Tensors in a file; the zoo's largest network has 700."""

MOST_DIMENSIONS = 8
"""Dimensions of a tensor."""
