"""Opening `.keras` files of users: checked for damage, size and declared variables before Keras allocates anything."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras

from mhmodels.errors import MhmodelsError, WeightsError
from mhmodels.formats.archives import check_archive, unpacked_limit
from mhmodels.weights.sources.keras_file import check_keras_file

CONFIG = "config.json"
LARGEST_CONFIG = 64 << 20


def load_keras_file(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a `.keras` file, never with code from it.

    Raises:
        WeightsError: no such file, none that Keras saved, damaged, or one that would take more memory than its size explains.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"{path}: {'not a regular file' if file.exists() else 'no such file'}, expected a .keras file")
    try:
        config = _config(file)
        check_keras_file(file)
        _check_variables(file, config)
        # Never with code from the file: a lambda layer could do anything.
        return keras.models.load_model(file, compile=False, safe_mode=True)
    except MhmodelsError:
        raise
    except Exception as error:  # Keras raises whatever its reading meets: ValueError, KeyError, OSError, zlib.error, …
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"{path}: cannot be read as a Keras model ({reason})") from error


def _config(file: Path) -> Any:
    size = check_archive(file).get(CONFIG)
    if size is None:
        raise WeightsError(f"{file}: a zip file without {CONFIG}, expected one that Keras saved (.keras)")
    if size > LARGEST_CONFIG:
        raise WeightsError(f"{file}: {CONFIG} in it has {size} bytes, expected at most {LARGEST_CONFIG}")
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read(CONFIG))


def _check_variables(file: Path, config: Any) -> None:
    """Compares what the variables of the declared layers would take with the file: Keras allocates them before it reads one.

    In a stateless scope, variables have shapes and no values.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(_uncompiled(config), safe_mode=True)
            if not isinstance(model, keras.Model):
                raise WeightsError(f"{file}: holds a {type(model).__name__}, expected a Keras model")
            wanted = sum(4 * _elements(weight.shape) for weight in model.weights)
    except ValueError as error:
        if "stateless scope" in str(error):
            return  # a layer of Keras that gives its variables values at once, which are small
        raise
    limit = unpacked_limit(file.stat().st_size)
    if wanted > limit:
        raise WeightsError(
            f"{file}: its layers declare variables of {wanted} bytes, expected at most {limit} for a file of its size; it is "
            "damaged or hostile"
        )


def _uncompiled(config: Any) -> Any:
    """A configuration without the optimizers of its models, which are not read."""
    if isinstance(config, dict):
        return {key: _uncompiled(value) for key, value in config.items() if key != "compile_config"}
    return [_uncompiled(value) for value in config] if isinstance(config, list) else config


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
