"""What several of these tests need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def eager() -> Iterator[None]:
    """Functions run operation by operation: XLA compiles for longer than a small search takes."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything in 64 bits, so that dozens of layers agree to the last digits; the fused kernel knows 32 bits at most."""
    import keras
    import tensorflow as tf

    from mhmodels.search.supernet.network import branch as network

    def batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
        return tf.nn.batch_normalization(x, *tf.nn.moments(x, (0, 1, 2)), beta, gamma, epsilon)

    monkeypatch.setattr(network, "_batch_norm", batch_norm)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
