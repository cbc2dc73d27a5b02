"""Names of NumPy array types that the package uses throughout."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
"""Float64 values of any shape."""
Bools: TypeAlias = NDArray[np.bool_]
"""Truth values of any shape, for example a mask."""
Indices: TypeAlias = NDArray[np.int64]
"""Indices into another array."""
