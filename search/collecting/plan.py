"""What is to be measured, and what the store has already."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.errors import MeasurementError, MhmodelsError
from mhmodels.export.writing.latency import latency_bytes, latency_format
from mhmodels.hardware import Environment, Hardware, HardwareCollection, Measurement, Runner, built_in_hardware
from mhmodels.registry import resolve
from mhmodels.search.cost_model.latencies.baselines import BASELINE
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.sampling import Sample
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

WEIGHTS = "random-v1"
NOTES = "collect"
"""The key of `Measurement.device_state` under which a row says how it was collected."""
REFERENCE = "mobilenet_v2"
THIS_MACHINE = "this machine"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to collect.

    Attributes:
        runs, threads: as in `mhmodels.hardware.measure`.
        reference: zoo network that latencies are measured beside; "" for none. Where the hardware can, the two are timed in turns
            (`mhmodels.hardware.host.turns`), elsewhere it is measured at intervals.
        interval: networks between two of its measurements, where it is not timed in turns.
        tolerance: by how much it may differ between two of them before what lies between is measured again.
        patience_s: how long to wait for a busy machine to become quiet, for each timing.
        again: whether noisy, drifted and outlying networks are measured once more.
        baselines: zoo networks that are measured as well, because rewards are stated in latencies of such.
    """

    runs: int = 50
    threads: int = 1
    reference: str = REFERENCE
    interval: int = 20
    tolerance: float = 0.03
    patience_s: float = 10.0
    again: bool = True
    baselines: tuple[str, ...] = ()


_AS_USUAL = Settings()


def reference_network(settings: Settings) -> Architecture | None:
    """The reference network under the name that rows and settings know it by.

    Raises:
        MhmodelsError: there is no such network.
    """
    return _named(settings.reference) if settings.reference else None


class Network(NamedTuple):
    """A member of a space, as rows name it, or a baseline, whose encoding is empty.

    `distribution` is what it was drawn from, if known.
    """

    label: str
    encoding: Encodings
    architecture: Architecture
    distribution: str = ""

    @property
    def id(self) -> str:
        """The architecture's id."""
        return self.architecture.architecture_id


class Target(NamedTuple):
    """A hardware, and what is left to do on it.

    Attributes:
        environment: that rows must have come from to count as there already; None if it is not known from here.
        pending: networks without a row, in order.
        rows: those of the store, by architecture id.
    """

    hardware: Hardware
    runner: Runner
    environment: Environment | None
    pending: list[Network]
    rows: dict[str, Measurement]

    @property
    def lane(self) -> str:
        """What it shares with others, one after the other: a phone's delegates the phone, the rest this machine."""
        return str(self.hardware.configuration.get("serial", "")) or THIS_MACHINE

    @property
    def timed(self) -> bool:
        """Whether it is timed, so that noise and drift matter."""
        return self.hardware.kind == "measured"


class Plan(NamedTuple):
    """Everything to do.

    Attributes:
        networks: of the space.
        absent: hardware that cannot be measured from here, with the reason.
    """

    networks: list[Network]
    targets: list[Target]
    absent: dict[str, str]
    baselines: tuple[Network, ...] = ()

    @property
    def everything(self) -> list[Network]:
        """Baselines and networks, in the order of measuring."""
        return [*self.baselines, *self.networks]


def make_plan(
    space: Space,
    drawn: Sample,
    hardware_ids: Sequence[str],
    store: Store,
    settings: Settings = _AS_USUAL,
    *,
    hardware: HardwareCollection | None = None,
    remote: bool = False,
) -> Plan:
    """Looks up what the store has; an architecture with a row of the same environment is not measured again.

    Args:
        space: of the networks.
        drawn: the networks.
        hardware_ids: as `mhmodels hardware` lists them, or `SERIAL/delegate`.
        store: of the rows.
        settings: how they are to be measured: rows with other threads, or beside another file of a reference network, do not
            count.
        hardware: collection that has the ids; None for the hardware that comes with the package.
        remote: they are measured elsewhere, so whether they can be measured from here does not matter.

    Raises:
        SpaceError: a tabular space.
        UnknownNameError: no such hardware.
        MeasurementError: none of the hardware can be measured, one takes files that cannot be made with random weights, or a
            baseline has an input size that the space does not have.
        StoreError: the store cannot be read.
    """
    if not isinstance(space, ArchitectureSpace):
        raise SpaceError(f"space '{space.name}' is tabular: its members are looked up, not built, so there is nothing to measure")
    names = drawn.distributions or ("",) * len(drawn.encodings)
    rows = space.canonical(space.check(drawn.encodings))
    distinct = {row.tobytes(): (row, name) for row, name in zip(rows, names, strict=True)}
    networks = [Network(space.label(row), row, space.build(row), name) for row, name in distinct.values()]
    baselines = _baselines(space, settings, {network.id for network in networks})
    targets, absent, known = [], {}, hardware or built_in_hardware()
    for name in dict.fromkeys(hardware_ids):
        entry, runner = known.get(name)
        latency_format(entry.format, entry.id)
        environment, why_not = (None, "") if remote else _environment(entry, runner)
        if why_not:
            absent[entry.id] = why_not
        else:
            targets.append(target(entry, runner, environment, [*baselines, *networks], store, settings))
    if not targets:
        raise MeasurementError("none of the hardware can be measured: " + "; ".join(absent.values() or ["none was named"]))
    return Plan(networks, targets, absent, baselines)


def target(
    hardware: Hardware,
    runner: Runner,
    environment: Environment | None,
    networks: Sequence[Network],
    store: Store,
    settings: Settings,
) -> Target:
    """What is left to do on one hardware.

    Raises:
        MhmodelsError: there is no such reference network, or no such file of it.
        StoreError: the store cannot be read.
    """
    stored = store.latest(
        [hardware.id],
        [network.id for network in networks],
        format=hardware.format,
        weights=WEIGHTS,
        threads=settings.threads,
        environment=environment,
        beside=_reference_hash(settings, hardware) if hardware.turns else "",
    )
    rows = {str(row.architecture_id): row for row in stored}
    return Target(hardware, runner, environment, [network for network in networks if network.id not in rows], rows)


def usual_baselines(space: Space) -> tuple[str, ...]:
    """What is measured beside a space's samples if nothing else is wanted: the network that rewards are stated in."""
    return (BASELINE,) if isinstance(space, ArchitectureSpace) and _sized(resolve(BASELINE), space) else ()


def _baselines(space: ArchitectureSpace, settings: Settings, samples: Collection[str]) -> tuple[Network, ...]:
    """The baselines, each once; one that is among the samples is measured as such."""
    named = [_named(name) for name in settings.baselines]
    for one in named:
        if not _sized(one, space):
            sizes = " or ".join(map(str, space.input_sizes))
            raise MeasurementError(f"baseline '{one.name}' has input size {one.input_size}, space '{space.name}' has {sizes}")
    found = {one.architecture_id: one for one in named if one.architecture_id not in samples}
    return tuple(Network(one.name, np.empty(0, np.int16), one) for one in found.values())


def _sized(network: Architecture, space: ArchitectureSpace) -> bool:
    return network.input_size[0] == network.input_size[1] and network.input_size[0] in space.input_sizes


def _named(name: str) -> Architecture:
    return msgspec.structs.replace(resolve(name), name=name)


def _reference_hash(settings: Settings, hardware: Hardware) -> str:
    """Of the reference network's file, "" for none: rows beside a file that an older writer made of it do not go with ours."""
    reference = reference_network(settings)
    return hashlib.sha256(latency_bytes(reference, latency_format(hardware.format, hardware.id))).hexdigest() if reference else ""


def notes(row: Measurement) -> dict[str, Any]:
    """How a row was collected; empty for one that was measured otherwise."""
    found = row.device_state.get(NOTES)
    return found if isinstance(found, dict) else {}


def with_notes(row: Measurement, **values: Any) -> Measurement:
    """A row with more notes."""
    return msgspec.structs.replace(row, device_state={**row.device_state, NOTES: {**notes(row), **values}})


def _environment(hardware: Hardware, runner: Runner) -> tuple[Environment | None, str]:
    why_not = runner.unavailable(hardware)
    if why_not:
        return None, why_not
    try:
        return runner.environment(hardware), ""
    except MhmodelsError as error:
        return None, str(error)
