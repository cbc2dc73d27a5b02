"""Finds the preprocessing of a Keras model: from what is stated, from what its layers say, and from both.

A model does not state its preprocessing. It is known where the caller states it, where a layer of `create_model` carries it, or
where the model begins with layers that normalise pixels. Otherwise it is unknown, and no file is made with a guess: the numbers
of the file would be right, and its decisions wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from mhmodels.architecture import Preprocessing
from mhmodels.export.errors import ExportError
from mhmodels.export.reading.keras_model.operation_list import Float64Array, Front, StatingLayer
from mhmodels.export.reading.pictures import fit_rule
from mhmodels.export.reading.stated_rule import PIXELS, StatedRule

REMEDY = (
    "state what the model was trained on: argument 'mean' and argument 'std', for (pixel - mean) / std with pixels from 0 to "
    "255, or argument 'preprocessing=NAME' (such as pixels, symmetric, imagenet, or a network of the zoo)"
)
_DIGITS = 9


class InputRule(NamedTuple):
    """The way from a picture to the input of a file.

    Attributes:
        entering: Preprocessing from a picture to the input of the Keras model; None if it is unknown.
        preprocessing: Preprocessing from a picture to the input of the file. It includes what the model's first layers do.
        missing: Why it is unknown, and what to do.
        origin: Where it is known from, in words.
    """

    entering: Preprocessing | None
    preprocessing: Preprocessing | None
    missing: str = ""
    origin: str = ""


def input_rule(model: str, front: Front, stated: StatedRule | None) -> InputRule:
    """Returns the way from a picture to the input of a model and of its file.

    Args:
        model: Its name, for messages.
        front: What stands before its first operation.
        stated: What the caller says that the model's input is; None if nothing.

    Raises:
        ExportError: Values for another number of channels were stated.
    """
    channels = len(front.scale)
    carried = [(entry, _entering(entry, channels)) for entry in front.stated]
    if stated is not None:
        if len(stated.mean) not in (1, channels):
            raise ExportError(
                f"model '{model}' takes {channels} channels, and the stated mean and std have {len(stated.mean)} values, "
                f"expected {channels} or 1"
            )
        known = carried[0][1] if carried else PIXELS
        return _known(front, stated.over(known), "as stated")
    if any(not _same(rule, carried[0][1]) for _, rule in carried):
        names = " and ".join(f"'{entry.layer}'" for entry, _ in carried)
        return InputRule(None, None, f"model '{model}': layers {names} state different preprocessings; {REMEDY}")
    if carried:
        entry, rule = carried[0]
        if _takes_pixels(front) and not _same(rule, fit_rule(PIXELS, channels)):
            folded = ", ".join(f"'{name}'" for name in front.folded)
            return InputRule(
                None,
                None,
                f"model '{model}': its layers {folded} normalise pixels, and do not give what layer '{entry.layer}' expects; "
                + REMEDY,
            )
        return _known(front, rule, f"layer '{entry.layer}'")
    if _takes_pixels(front):
        return _known(front, PIXELS, f"pixels, normalised by {', '.join(map(repr, front.folded))}")
    what = "begins with layers that normalise other values than pixels" if front.changes else "says nothing of its preprocessing"
    return InputRule(None, None, f"model '{model}' {what}; {REMEDY}")


def _known(front: Front, entering: Preprocessing, origin: str) -> InputRule:
    return InputRule(entering, _composed(front, entering), origin=origin)


def _takes_pixels(front: Front) -> bool:
    """Returns whether the layers in front normalise pixels from 0 to 255, and not values that were normalised before.

    A mean within 0 to 255 and a deviation of more than a level are those of pixels. What is adapted to values from 0 to 1 or
    -1 to 1 has a deviation of at most 1.
    """
    mean, std = -front.offset / front.scale, 1.0 / front.scale
    plausible = (mean >= -1e-6).all() and (mean <= 255).all() and (std >= 1 - 1e-6).all()
    return bool(front.changes and plausible and ((mean > 1).any() or (std > 2).any()))


def _entering(entry: StatingLayer, channels: int) -> Preprocessing:
    """Returns the preprocessing of the input of the model with which an inner layer gets what it states."""
    rule = fit_rule(entry.rule, channels)
    mean, std = np.asarray(rule.mean), np.asarray(rule.std)
    return _replaced(rule, mean + entry.offset * std, std * entry.scale)


def _composed(front: Front, rule: Preprocessing) -> Preprocessing:
    """Returns the preprocessing of the input of the file, where that of the model is `rule`."""
    rule = fit_rule(rule, len(front.scale))
    if not front.changes:
        return rule
    mean, std = np.asarray(rule.mean), np.asarray(rule.std)
    return _replaced(rule, mean - front.offset * std / front.scale, std / front.scale)


def _replaced(rule: Preprocessing, mean: Float64Array, std: Float64Array) -> Preprocessing:
    return msgspec.structs.replace(rule, mean=tuple(map(_rounded, mean)), std=tuple(map(_rounded, std)))


def _rounded(value: float) -> float:
    """Rounds to nine digits, because 1 / (1 / 127.5) is not 127.5; float32 has seven."""
    return float(f"{value:.{_DIGITS}g}") + 0.0


def _same(one: Preprocessing, other: Preprocessing) -> bool:
    pairs = ((one.mean, other.mean), (one.std, other.std))
    return all(len(a) == len(b) and np.allclose(a, b, rtol=1e-4, atol=1e-3) for a, b in pairs)
