"""Reads `--preprocessing`, `--mean` and `--std`."""

from __future__ import annotations

import math
import re

from mhmodels.export.errors import ExportError
from mhmodels.export.reading.stated_rule import StatedRule
from mhmodels.formats.numbers import decimal

LARGEST = 65536.0


def stated_rule_of(name: str | None, mean: str | None, std: str | None) -> StatedRule | None:
    """Returns what `--preprocessing`, `--mean` and `--std` state together; None where none of them is given.

    Args:
        name: See `mhmodels.export.reading.stated_rule.named_rule`.
        mean, std: A number, or numbers for the channels in order, separated by commas.

    Raises:
        ExportError: One of `mean` and `std` without the other, both beside a name, or no numbers that a picture can have.
        UnknownNameError: `name` means nothing.
    """
    if name is not None:
        if mean is not None or std is not None:
            raise ExportError("--preprocessing and --mean or --std: a name states all of the rule; give one of them")
        return StatedRule.named(name)
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
