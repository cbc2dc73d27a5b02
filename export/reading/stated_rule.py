"""The preprocessing that a user states: by a name, or by a mean and a deviation. No Keras needed."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import msgspec

from mhmodels.architecture import Preprocessing
from mhmodels.errors import UnknownNameError
from mhmodels.export.errors import ExportError
from mhmodels.formats.numbers import decimal

LARGEST = 65536.0
_UNIT = Preprocessing(mean=(0.0,), std=(255.0,), crop_fraction=1.0)
PIXELS = Preprocessing(mean=(0.0,), std=(1.0,), crop_fraction=1.0)
"""Pixels from 0 to 255 as they are, of the whole picture."""


class StatedRule(NamedTuple):
    """What a user states of the pictures that a model takes.

    Attributes:
        mean, std: in pixel units, one for each channel or one for all.
        whole: crop and interpolation too, where a rule was named; None where they are left as they are known.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whole: Preprocessing | None = None

    def over(self, known: Preprocessing) -> Preprocessing:
        """What is stated in place of what is known."""
        return self.whole or msgspec.structs.replace(known, mean=self.mean, std=self.std)


def stated_rule_of(name: str | None, mean: str | None, std: str | None) -> StatedRule | None:
    """What `--preprocessing`, `--mean` and `--std` state together; None where none of them is given.

    Args:
        name: see `named_rule`.
        mean, std: a number, or numbers for the channels in order, separated by commas.

    Raises:
        ExportError: one of `mean` and `std` without the other, both beside a name, or no numbers that a picture can have.
        UnknownNameError: `name` means nothing.
    """
    if name is not None:
        if mean is not None or std is not None:
            raise ExportError("--preprocessing and --mean or --std: a name states all of the rule; give one of them")
        rule = named_rule(name)
        return StatedRule(rule.mean, rule.std, rule)
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        given, missing = ("--std", "--mean") if mean is None else ("--mean", "--std")
        raise ExportError(f"{given} without {missing}: pictures become (pixel - mean) / std, which needs both")
    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    longest = max(len(means), len(stds))
    means, stds = (values * longest if len(values) == 1 else values for values in (means, stds))
    if len(means) != len(stds):
        raise ExportError(f"--mean has {len(means)} values and --std {len(stds)}, expected as many, or one for all channels")
    if min(stds) < 1:
        scaled = [",".join(f"{255 * value:.7g}" for value in values) for values in (means, stds)]
        raise ExportError(
            f"--std is {std}, expected at least 1: both are in pixel units, from 0 to 255; if they are of pictures from 0 to 1, "
            f"give --mean {scaled[0]} --std {scaled[1]}"
        )
    return StatedRule(means, stds)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    parts = re.split(r"\s*,\s*|\s+", text.strip())
    try:
        values = tuple(map(decimal, parts))
    except ValueError:
        values = ()
    if len(values) != len(parts) or not all(math.isfinite(value) and abs(value) <= LARGEST for value in values):
        raise ExportError(
            f"{option} is '{text}', expected a number, or one for each channel separated by commas, such as 123.675,116.28,103.53"
        )
    return values


def named_rule(name: str) -> Preprocessing:
    """The preprocessing of that name.

    Args:
        name: `pixels` (0 to 255 as they are), `unit` (0 to 1), `symmetric` (-1 to 1), `imagenet`, `tf_model_garden`, a network
            of the zoo or an architecture file (what it expects), registered weights, or the path of a weights file or of a
            `.keras` file (what it states).

    Raises:
        UnknownNameError: none of them; the message lists the rules.
        MhmodelsError: a file that cannot be read, or states none.
    """
    from mhmodels.inference import preprocessing_of
    from mhmodels.registry import zoo
    from mhmodels.weights.downloading.registered import entries, fetch
    from mhmodels.weights.importing import PREPROCESSINGS

    rules = {"pixels": PIXELS, "unit": _UNIT, **PREPROCESSINGS}
    if name in rules:
        return rules[name]
    registered = [entry for entry in entries() if entry.name == name]
    if registered and name not in zoo():
        if len(registered) > 1:
            models = ", ".join(entry.model for entry in registered[:4])
            raise ExportError(
                f"--preprocessing '{name}': weights of several networks ({models}, …); give the name of the network"
            )
        return preprocessing_of(fetch(registered[0]))
    try:
        return preprocessing_of(name)
    except UnknownNameError:
        raise UnknownNameError(
            "preprocessing", name, rules, "(or give a network of the zoo, registered weights, or a file that states one)"
        ) from None
