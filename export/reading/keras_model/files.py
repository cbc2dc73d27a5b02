"""Opens `.keras` files of users: checks damage, size and declared variables before Keras allocates anything."""

from __future__ import annotations

import contextlib
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
from keras.src.backend.common import global_state
from keras.src.backend.common.variables import initialize_all_variables

from mhmodels.errors import MhmodelsError, WeightsError
from mhmodels.formats.archives import check_archive, unpacked_limit
from mhmodels.weights.sources.keras_file import check_keras_file

_WAITING = "uninitialized_variables"  # name of Keras' list of variables without memory, which has no public access
CONFIG = "config.json"
LARGEST_CONFIG = 64 << 20


def load_keras_file(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a `.keras` file without running code from it.

    The layers are made once, from their configuration and without memory for their variables. The variables get memory and
    values when what they take has been compared with the size of the file.

    Args:
        path: A file that `model.save("NAME.keras")` wrote.

    Raises:
        WeightsError: The file does not exist, Keras did not save it, it is damaged, or its layers would take more memory
            than its size explains.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"{path}: {'not a regular file' if file.exists() else 'no such file'}, expected a .keras file")
    try:
        config = _config(file)
        check_keras_file(file)
        return _loaded(file, config)
    except MhmodelsError:
        raise
    except Exception as error:  # Keras raises whatever its reading meets: ValueError, KeyError, OSError, zlib.error, …
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"{path}: cannot be read as a Keras model ({reason})") from error


def _config(file: Path) -> object:
    size = check_archive(file).get(CONFIG)
    if size is None:
        raise WeightsError(f"{file}: a zip file without {CONFIG}, expected one that Keras saved (.keras)")
    if size > LARGEST_CONFIG:
        raise WeightsError(f"{file}: {CONFIG} in it has {size} bytes, expected at most {LARGEST_CONFIG}")
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read(CONFIG))


def _loaded(file: Path, config: object) -> keras.Model:
    """Makes the model of a configuration, compares its variables with the file, and reads their values."""
    with _deferred_variables() as allocate:
        try:
            with keras.StatelessScope(initialize_variables=False):
                model = keras.saving.deserialize_keras_object(_uncompiled(config), safe_mode=True)
        except ValueError as error:
            if "stateless scope" not in str(error):
                raise
            # A layer of Keras that gives its variables values at once, which are small.
            return keras.models.load_model(file, compile=False, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise WeightsError(f"{file}: holds a {type(model).__name__}, expected a Keras model")
        _check_variables(file, model)
        allocate()
    model.load_weights(file)
    return model


@contextlib.contextmanager
def _deferred_variables() -> Iterator[Callable[[], None]]:
    """Keeps apart the variables that are made in a stateless scope, and forgets those that were not allocated.

    Keras keeps a list of all variables without memory, and allocates them when any later stateless scope ends, such as in the
    next model that is built. Variables of a refused file must not wait there.

    Yields:
        A function that gives the variables memory and their initial values.
    """
    before = global_state.get_global_attribute(_WAITING)
    global_state.set_global_attribute(_WAITING, [])
    try:
        yield initialize_all_variables
    finally:
        global_state.set_global_attribute(_WAITING, before or [])


def _check_variables(file: Path, model: keras.Model) -> None:
    """Compares what the variables of a model would take with the size of its file."""
    wanted = sum(4 * math.prod(weight.shape) for weight in model.weights)
    limit = unpacked_limit(file.stat().st_size)
    if wanted > limit:
        raise WeightsError(
            f"{file}: its layers declare variables of {wanted} bytes, expected at most {limit} for a file of its size; it is "
            "damaged or hostile"
        )


def _uncompiled(config: object) -> object:
    """Returns a configuration without the optimizers of its models, which are not read."""
    if isinstance(config, dict):
        return {key: _uncompiled(value) for key, value in config.items() if key != "compile_config"}
    return [_uncompiled(value) for value in config] if isinstance(config, list) else config
