"""Suppresses messages of native libraries on the terminal, and loads TensorFlow without its start-up messages."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

from mhmodels.errors import MhmodelsError


class BackendError(MhmodelsError, RuntimeError):
    """Keras runs on another backend than a command needs."""


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Suppresses what native code prints to stdout and stderr while the block runs.

    Python exceptions pass through; only text that is written to the two descriptors is dropped.
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
    """Pauses the garbage collector during the block.

    An import creates a million objects that stay. Searching them for cycles takes a sixth of TensorFlow's import time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras without their start-up messages (CUDA plug-ins, CPU features), for a command.

    Commands compute in float32 with channels last, whatever keras.json says.

    Raises:
        BackendError: Keras has another backend than TensorFlow, or it cannot be loaded.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet_native(), without_collections():
            import keras
            import tensorflow  # noqa: F401
        backend = keras.config.backend()
    except (ImportError, ValueError) as error:  # Keras: the backend's package is missing, or there is no backend of that name
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BackendError(f"Keras cannot be loaded ({reason}); {_backend_remedy()}") from error
    if backend != "tensorflow":
        raise BackendError(f"Keras' backend is '{backend}', and this command computes with TensorFlow; {_backend_remedy()}")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")


def _backend_remedy() -> str:
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen is not None:
        return f"KERAS_BACKEND is '{chosen}': unset it, or set it to 'tensorflow'"
    return "set KERAS_BACKEND=tensorflow, or 'backend' in ~/.keras/keras.json"
