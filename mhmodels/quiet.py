"""Keeping native libraries' chatter off a person's terminal."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Holds back what C++ code and the libraries around it print to stdout and stderr while the block runs.

    Python exceptions pass through as ever; only text written to the two descriptors is dropped.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as log:
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Pauses the garbage collector.

    An import makes a million objects that stay; looking for cycles among them takes a sixth of TensorFlow's import time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras without their start-up messages (CUDA plug-ins, CPU features)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native(), without_collections():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
