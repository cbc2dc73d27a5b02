"""The profiles that `mhmodels search reduce` compares, and published reductions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mhmodels.search.cli.device_latencies import DeviceOptions
from mhmodels.search.cli.profile import metric_tables, samples

if TYPE_CHECKING:
    from mhmodels.search.profiling.block_profile import BlockProfile
    from mhmodels.search.space.search_space import SearchSpace

_ACCURACY = "accuracy"
_PUBLISHED = "published"


class ReductionProfiles(NamedTuple):
    """What a reduction compares.

    Attributes:
        latency: Profiles of latency by hardware.
        accuracy: Profile of accuracy.
    """

    latency: Mapping[str, BlockProfile]
    accuracy: BlockProfile


def profiles(
    space: SearchSpace, devices: DeviceOptions, where: Mapping[str, str], accuracy: str, confidence: float
) -> ReductionProfiles:
    """Profiles latencies and accuracies, and prints remarks.

    Args:
        space: The space; networks of its whole space count.
        devices: Files, store and choice of devices.
        where: Conditions of the store's rows.
        accuracy: Table of accuracies, or `published`.
        confidence: Confidence of the intervals.

    Raises:
        click.UsageError: There are no latencies, or options contradict each other.
        MhmodelsError: A file cannot be read, there are too few networks, or no accuracies are published.
    """
    whole = space.unrestricted()
    found = samples.read(whole, samples.LATENCY, devices, where, 0, 0)
    gains = _accuracy(space, accuracy, confidence)
    # Of hardware that was named, none may be left out silently: it might be the one that needs a block.
    all_of = bool(devices.hardware)
    return ReductionProfiles(samples.profiled(whole, found, confidence, differences=True, all_of=all_of), gains)


def by_rule(space: SearchSpace, rule: str) -> SearchSpace:
    """Applies a published reduction.

    Args:
        space: The whole space, or what is left of it.
        rule: Name of the reduction, with or without that of the space.

    Raises:
        UnknownNameError: There is no such reduction of the space.
    """
    import numpy as np

    from mhmodels.errors import UnknownNameError
    from mhmodels.search.space.published_reductions import published_reductions, published_space

    name = rule if "/" in rule else f"{space.name}/{rule}"
    known = [one.name for one in published_reductions().values() if one.space == space.name]
    if name not in known:
        raise UnknownNameError(f"published reduction of '{space.name}'", rule, known)
    reduced = published_space(name)
    return space.restricted(
        [np.intersect1d(one, other) for one, other in zip(space.allowed, reduced.allowed, strict=True)], reduced.restrictions
    )


def refuse_with_rule(given: Collection[str]) -> None:
    """Refuses options that a published reduction makes meaningless.

    Args:
        given: Names of the parameters on the command line.

    Raises:
        click.UsageError: One of them is of no use with a rule.
    """
    ignored = sorted(set(given) - {"space_name", "rule", "output", "as_json"})
    if ignored:
        option = {"listed": "hardware"}.get(ignored[0], ignored[0]).replace("_", "-")
        raise click.UsageError(f"--rule is a published reduction and needs no measurements, expected no --{option}")


def _accuracy(space: SearchSpace, accuracy: str, confidence: float) -> BlockProfile:
    from mhmodels.search.profiling.layout import as_profiled, layout_of
    from mhmodels.search.reduction.published_accuracy import published_accuracy

    if accuracy == _PUBLISHED:
        return published_accuracy(space, confidence)
    whole = space.unrestricted()
    table = samples.MetricSample(*metric_tables.read(Path(accuracy), as_profiled(whole, layout_of(whole)), _ACCURACY))
    return samples.profiled(whole, {_ACCURACY: table}, confidence, differences=True)[_ACCURACY]
