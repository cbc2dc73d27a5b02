"""The networks and values that `mhmodels search profile` profiles, and its JSON fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mhmodels.cli.common import note
from mhmodels.search.cli import device_latencies
from mhmodels.search.cli.device_latencies import DeviceOptions
from mhmodels.search.cli.profile import metric_tables

if TYPE_CHECKING:
    from mhmodels.search.arrays import Floats
    from mhmodels.search.cost_model.model import CostModel
    from mhmodels.search.profiling.block_profile import BlockProfile
    from mhmodels.search.profiling.shares import LayerShare
    from mhmodels.search.space.search_space import Encodings, SearchSpace

LATENCY = "latency"
_COMPUTED = ("madds", "params")


class MetricSample(NamedTuple):
    """Networks with a metric.

    Attributes:
        encodings: (n, decisions), int16.
        values: (n,).
        is_measured: Whether single values can be wrong.
        model: Cost model that predicted the values; None for other values.
    """

    encodings: Encodings
    values: Floats
    is_measured: bool = True
    model: CostModel | None = None


def unit_of(metric: str) -> str:
    """Unit of a metric in text, "" if it is unknown."""
    return "ms" if metric == LATENCY else "M" if metric in _COMPUTED else ""


def read(
    space: SearchSpace,
    metric: str,
    devices: DeviceOptions,
    where: Mapping[str, str],
    count: int,
    seed: int,
    cost_models: Sequence[Path] = (),
) -> dict[str, MetricSample]:
    """Reads, or draws and computes, the values of networks, and prints remarks.

    Args:
        space: Space of the networks.
        metric: `latency`, `madds`, `params`, or a column of the files.
        devices: Files, store and choice of devices.
        where: Conditions of the store's rows.
        count, seed: Number of networks to draw, and random seed.
        cost_models: Files or hardware ids of cost models that predict latencies of networks, in place of files and store.

    Returns:
        By name of the hardware, or of the metric.

    Raises:
        click.UsageError: Options contradict each other, or there is nothing to read.
        MhmodelsError: A file cannot be read, or the metric does not apply to the space.
    """
    from mhmodels.search.profiling.layout import as_profiled, layout_of

    view = as_profiled(space, layout_of(space))
    device_latencies.check_where(devices, where)
    if cost_models:
        if metric != LATENCY or devices.data or devices.store is not None or devices.listed:
            raise click.UsageError("--cost-model predicts latencies, expected no other --metric, --data, --store or --hardware")
        return _predicted(space, cost_models, count, seed)
    if metric == LATENCY:
        return _latencies(view, devices, where)
    for option, given in (("--store", devices.store), ("--hardware", devices.listed)):
        if given:
            raise click.UsageError(f"{option} is for latencies, not for --metric {metric}")
    if metric not in _COMPUTED:
        if len(devices.data) != 1:
            raise click.UsageError(
                f"--metric {metric} is a column of a table, expected one --data FILE; found {len(devices.data)}"
                + ("" if devices.data else f". {metric_tables.where_from(space)}")
            )
        encodings, values = metric_tables.read(devices.data[0], view, metric)
        return {metric: MetricSample(encodings, values)}
    if devices.data:
        raise click.UsageError(f"--metric {metric} is computed for networks that are sampled, expected no --data")
    return {metric: _computed(space, metric, count, seed)}


def profiled(
    space: SearchSpace,
    found: Mapping[str, MetricSample],
    confidence: float,
    *,
    differences: bool = False,
    all_of: bool = False,
) -> dict[str, BlockProfile]:
    """Profiles each hardware. One of several that cannot be profiled is left out with a note.

    Args:
        space: Space of the networks.
        found: Networks by name of the hardware.
        confidence: Confidence of the intervals.
        differences: Whether to estimate the differences between blocks too.
        all_of: Whether none may be left out.

    Raises:
        CostModelError: No hardware can be profiled, or one that may not be left out.
    """
    from mhmodels.search.errors import CostModelError
    from mhmodels.search.profiling.regression import profile

    result = {}
    for name, one in found.items():
        try:
            result[name] = profile(
                space, one.encodings, one.values, confidence=confidence, robust=one.is_measured, differences=differences
            )
        except CostModelError as error:
            if len(found) == 1 or all_of:
                raise type(error)(f"{name}: {error}") from error
            note(f"{name} is left out: {error}")
            continue
        if result[name].missing:
            shown = "; ".join(result[name].missing[:5]) + (" …" if len(result[name].missing) > 5 else "")
            note(f"{name}: {len(result[name].missing)} choices occur in no network and have no effect: {shown}")
        if result[name].set_aside:
            note(f"{name}: {result[name].set_aside} networks with absurd values are left out")
    if not result:
        raise CostModelError(f"none of {len(found)} hardware can be profiled")
    return result


def shares(
    space: SearchSpace, metric: str, found: Mapping[str, MetricSample], profiles: Mapping[str, BlockProfile], required: bool
) -> dict[str, tuple[LayerShare, ...]]:
    """Shares of the layers: as a cost model divides latency where there is one, otherwise what the layers' presence adds.

    Args:
        space: Space of the networks.
        metric: Name of the metric.
        found: Networks by name of the hardware.
        profiles: Profiles by name of the hardware.
        required: Whether the shares are asked for; otherwise those that cannot be computed are left out.

    Raises:
        CostModelError: Shares are required and cannot be computed.
        click.UsageError: Shares are required of a metric without them.
    """
    from mhmodels.search.errors import CostModelError
    from mhmodels.search.profiling.relative import RELATIVE
    from mhmodels.search.profiling.shares import cost_model_shares, layer_shares

    if metric not in RELATIVE:
        if required:
            raise click.UsageError(f"layers have shares of {', '.join(RELATIVE)}, not of --metric {metric}")
        return {}
    result = {}
    for name, one in profiles.items():
        model = found[name].model
        try:
            result[name] = layer_shares(space, one) if model is None else cost_model_shares(space, model)
        except CostModelError as error:
            if required:
                raise CostModelError(f"{name}: {error}") from error
    return result


def fields_of(profile: BlockProfile, metric: str) -> dict[str, object]:
    """A profile as JSON values; the names of milliseconds end with `_ms`.

    Args:
        profile: The profile.
        metric: Name of the metric.
    """
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(profile)
    if metric != LATENCY:
        return fields
    renamed = _renamed(fields)
    assert isinstance(renamed, dict)
    return renamed


_OF_LATENCY = {"mean": "mean_ms", "level": "level_ms", "error": "error_ms", "metric": "metric_ms"}


def _renamed(value: object) -> object:
    if isinstance(value, dict):
        return {_OF_LATENCY.get(name, name): _renamed(inner) for name, inner in value.items()}
    return [_renamed(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _latencies(space: SearchSpace, devices: DeviceOptions, where: Mapping[str, str]) -> dict[str, MetricSample]:
    found = device_latencies.latencies(space, devices, where)
    device_latencies.tell_remarks(found)
    return {name: _unselected(space, name, MetricSample(one.encodings, one.ms), one.distributions) for name, one in found.items()}


def _unselected(space: SearchSpace, name: str, sample: MetricSample, distributions: Sequence[str]) -> MetricSample:
    """The networks that were not selected by their MAdds, where they are enough."""
    from mhmodels.search.profiling.selection import enough, unselected

    kept = unselected(distributions)
    selected = int((~kept).sum())
    if not selected:
        return sample
    if not enough(space, int(kept.sum())):
        note(
            f"{name}: {selected} of {len(kept)} networks were selected by their MAdds (distribution window=…), which makes "
            f"effects too small and intervals too narrow; the other {int(kept.sum())} are too few"
        )
        return sample
    note(f"{name}: {selected} of {len(kept)} networks were selected by their MAdds (distribution window=…) and are left out")
    return sample._replace(encodings=sample.encodings[kept], values=sample.values[kept])


def _predicted(space: SearchSpace, paths: Sequence[Path], count: int, seed: int) -> dict[str, MetricSample]:
    """Latencies of networks of the distribution that effects are relative to, by cost models."""
    from mhmodels.search.cost_model.model import load_cost_model, naming
    from mhmodels.search.cost_model.shipping import model_path, remark_on

    encodings, found = _drawn(space, count, seed), dict[str, MetricSample]()
    for word in paths:
        path = model_path(space.name, word)
        with naming(path):
            model = load_cost_model(path)
            model.check(space=space)
            values = model.bind(space).predict(encodings)
        if model.hardware in found:
            raise click.UsageError(f"two cost models are of hardware '{model.hardware}', expected one of each")
        remark = remark_on(model, path)
        if remark:
            note(remark)
        note(
            f"{model.hardware}: predictions of a cost model, whose error (mean {model.held_out.mape:.1%} on {model.held_out.n} "
            "held-out networks) the intervals do not contain"
        )
        found[model.hardware] = MetricSample(encodings, values, False, model)
    return found


def _computed(space: SearchSpace, metric: str, count: int, seed: int) -> MetricSample:
    from mhmodels.search.errors import SpaceError
    from mhmodels.search.profiling.parameters import parameters
    from mhmodels.search.space.template import ArchitectureSpace

    if not isinstance(space, ArchitectureSpace):
        raise SpaceError(f"space '{space.name}' is tabular: its members have no {metric}; give a table with --data")
    encodings = _drawn(space, count, seed)
    values = space.madds(encodings) if metric == "madds" else parameters(space, encodings)
    return MetricSample(encodings, values / 1e6, False)


def _drawn(space: SearchSpace, count: int, seed: int) -> Encodings:
    """(count, decisions), networks of the distribution that effects are relative to."""
    import numpy as np

    from mhmodels.search.profiling.layout import layout_of
    from mhmodels.search.profiling.reference import ReferenceNetworks

    reference = ReferenceNetworks(space, layout_of(space), [choices.tolist() for choices in space.allowed])
    return reference.draw(count, np.random.default_rng(seed))
