"""The preprocessing of a network as a layer that every `.keras` file keeps.

A network's preprocessing is no part of a Keras model: only layers and their configurations survive saving, loading in a Keras
process without mhmodels, and being built upon. `create_model` therefore puts an `Identity` layer behind the input, whose name
states the rule: `preprocessing_mean_128x3_std_128x3_crop_0.875_bilinear`. This module writes and reads that name. It imports
no Keras.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

import msgspec

from mhmodels.architecture import Interpolation, Preprocessing
from mhmodels.system.files import open_regular

if TYPE_CHECKING:
    import keras

# A plus sign is no part of a TensorFlow scope's name, so that 1e+20 is written 1e20.
_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_NUMBERS = rf"(?:{_NUMBER}x\d{{1,4}}|{_NUMBER}(?:_{_NUMBER})*)"
_NAME = re.compile(rf"preprocessing_mean_({_NUMBERS})_std_({_NUMBERS})_crop_({_NUMBER})_({'|'.join(get_args(Interpolation))})")
_CONFIG, _LARGEST_CONFIG = "config.json", 64 << 20


def layer_name(rule: Preprocessing) -> str:
    """Returns the name of the layer that states a rule."""
    mean, std = _written(rule.mean), _written(rule.std)
    return f"preprocessing_mean_{mean}_std_{std}_crop_{_number(rule.crop_fraction)}_{rule.interpolation}"


def stated_rule(name: str) -> Preprocessing | None:
    """Returns the rule that the name of a layer states; None for any other layer.

    Example:
        >>> stated_rule("preprocessing_mean_128x3_std_128x3_crop_0.875_bilinear").mean
        (128.0, 128.0, 128.0)
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    mean, std, crop, interpolation = found.groups()
    fields = {"mean": _read(mean), "std": _read(std), "crop_fraction": float(crop), "interpolation": interpolation}
    try:
        return msgspec.convert(fields, Preprocessing)
    except msgspec.ValidationError:  # a name that looks like ours and states no rule, such as a deviation of 0
        return None


def model_rule(model: keras.Model) -> Preprocessing | None:
    """Returns the rule that the layers of a Keras model state, those of nested models included; None for no rule or two."""
    return _only(str(layer.name) for layer in _layers(model))


def state_rule(model: keras.Model, rule: Preprocessing) -> None:
    """Changes the rule that a layer of the model states. A model without such a layer stays as it is."""
    for layer in _layers(model):
        if stated_rule(str(layer.name)) is not None:
            layer.name = layer_name(rule)


def file_rule(path: str | os.PathLike[str]) -> Preprocessing | None:
    """Returns the rule that a `.keras` file states; None without a rule or for other files. Nothing of the file is run."""
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive, archive.open(_CONFIG) as file:
            content = file.read(_LARGEST_CONFIG + 1)
        document = json.loads(content) if len(content) <= _LARGEST_CONFIG else None
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile):
        return None  # what reads the file as weights or as a model names the fault
    return _only(_names(document))


def _only(names: Iterator[str]) -> Preprocessing | None:
    rules = {rule for rule in map(stated_rule, names) if rule is not None}
    return rules.pop() if len(rules) == 1 else None


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def _names(document: object) -> Iterator[str]:
    """Every text under the key `name` in a JSON document."""
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("name"), str):
                yield node["name"]
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0").replace("e+", "e")


def _written(values: tuple[float, ...]) -> str:
    """Values as a part of a name: one for all channels as `VALUExCHANNELS`."""
    if len(values) > 1 and len(set(values)) == 1:
        return f"{_number(values[0])}x{len(values)}"
    return "_".join(map(_number, values))


def _read(text: str) -> tuple[float, ...]:
    value, repeated, channels = text.partition("x")
    return (float(value),) * int(channels) if repeated else tuple(map(float, text.split("_")))
