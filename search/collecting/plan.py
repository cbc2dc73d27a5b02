"""The plan of a collection: the networks and the hardware, and which latencies the store already has."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.errors import MeasurementError, MhmodelsError
from mhmodels.export.writing.latency import latency_bytes, latency_format
from mhmodels.hardware import Environment, Hardware, HardwareCollection, Measurement, Runner, built_in_hardware
from mhmodels.hardware.measurement import RANDOM_WEIGHTS
from mhmodels.registry import resolve
from mhmodels.search.collecting.settings import DEFAULT_SETTINGS, CollectSettings, named_network, reference_network
from mhmodels.search.cost_model.latencies.baselines import BASELINE
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.sampling import Sample
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

THIS_MACHINE = "this machine"


class CollectNetwork(NamedTuple):
    """A network to measure: a member of a space, or a baseline.

    Attributes:
        label: Model name of its rows.
        encoding: (decisions,), int16; empty for a baseline.
        architecture: The network.
        distribution: Distribution that it was drawn from, "" if unknown.
    """

    label: str
    encoding: Encodings
    architecture: Architecture
    distribution: str = ""

    @property
    def id(self) -> str:
        """The architecture's id."""
        return self.architecture.architecture_id


class CollectTarget(NamedTuple):
    """One hardware of a plan, with the networks that it lacks.

    Attributes:
        hardware: The hardware.
        runner: What measures on it.
        environment: Environment that stored rows must have to be reused; None if it cannot be determined from here.
        pending: Networks without a row, in the order of measuring.
        rows: Stored rows by architecture id.
    """

    hardware: Hardware
    runner: Runner
    environment: Environment | None
    pending: list[CollectNetwork]
    rows: dict[str, Measurement]

    @property
    def resource(self) -> str:
        """The resource that hardware shares: a phone's serial number for its delegates, or this machine."""
        return str(self.hardware.configuration.get("serial", "")) or THIS_MACHINE

    @property
    def timed(self) -> bool:
        """Whether latencies are timed, so that noise and drift matter; compilers estimate instead."""
        return self.hardware.kind == "measured"


class CollectPlan(NamedTuple):
    """All networks and all hardware of a collection.

    Attributes:
        networks: Members of the space, in the order of the sample.
        targets: Hardware that can be measured.
        absent: Why other hardware cannot be measured from here, by hardware id.
        baselines: Zoo networks to measure beside the members.
    """

    networks: list[CollectNetwork]
    targets: list[CollectTarget]
    absent: dict[str, str]
    baselines: tuple[CollectNetwork, ...] = ()

    @property
    def everything(self) -> list[CollectNetwork]:
        """Baselines and members, in the order of measuring."""
        return [*self.baselines, *self.networks]


def make_plan(
    space: SearchSpace,
    drawn: Sample,
    hardware_ids: Sequence[str],
    store: Store,
    settings: CollectSettings = DEFAULT_SETTINGS,
    *,
    hardware: HardwareCollection | None = None,
    remote: bool = False,
) -> CollectPlan:
    """Looks up which rows the store has. A network with a row of the same environment is not measured again.

    Args:
        space: Space of the networks.
        drawn: The networks.
        hardware_ids: Hardware ids; of a phone `SERIAL/delegate`.
        store: Store of the rows.
        settings: How to measure. Rows with another number of threads, or timed beside another file of a reference network, are
            not reused.
        hardware: Collection that has the ids; None for the hardware that comes with the package.
        remote: Whether other machines measure. If so, hardware that cannot be measured from here is kept.

    Raises:
        SpaceError: The space is tabular.
        UnknownNameError: No hardware has this id.
        MeasurementError: No hardware can be measured, a hardware takes a format that cannot be written with random weights, or a
            baseline has an input size that the space does not have.
        StoreError: The store cannot be read.
    """
    if not isinstance(space, ArchitectureSpace):
        raise SpaceError(f"space '{space.name}' is tabular: its members are looked up, not built, so there is nothing to measure")
    networks = _members(space, drawn)
    baselines = _baselines(space, settings, {network.id for network in networks})
    targets, absent, known = [], {}, hardware or built_in_hardware()
    for name in dict.fromkeys(hardware_ids):
        entry, runner = known.get(name)
        latency_format(entry.format, entry.id)  # refuses formats that cannot be written with random weights
        environment, why_not = (None, "") if remote else _environment(entry, runner)
        if why_not:
            absent[entry.id] = why_not
        else:
            targets.append(make_target(entry, runner, environment, [*baselines, *networks], store, settings))
    if not targets:
        raise MeasurementError("none of the hardware can be measured: " + "; ".join(absent.values() or ["none was named"]))
    return CollectPlan(networks, targets, absent, baselines)


def make_target(
    hardware: Hardware,
    runner: Runner,
    environment: Environment | None,
    networks: Sequence[CollectNetwork],
    store: Store,
    settings: CollectSettings,
) -> CollectTarget:
    """Splits networks into those that a hardware lacks and those with a stored row.

    Args:
        hardware: The hardware.
        runner: What measures on it.
        environment: Environment that rows must have; None for any.
        networks: All networks.
        store: Store of the rows.
        settings: How to measure.

    Raises:
        MhmodelsError: The reference network is unknown or cannot be written.
        StoreError: The store cannot be read.
    """
    stored = store.latest(
        [hardware.id],
        [network.id for network in networks],
        format=hardware.format,
        weights=RANDOM_WEIGHTS,
        threads=settings.threads,
        environment=environment,
        beside=_reference_hash(settings, hardware) if hardware.turns else "",
    )
    rows = {str(row.architecture_id): row for row in stored}
    return CollectTarget(hardware, runner, environment, [network for network in networks if network.id not in rows], rows)


def usual_baselines(space: SearchSpace) -> tuple[str, ...]:
    """Default of `CollectSettings.baselines`: the default reference of rewards, if its input size is in the space."""
    return (BASELINE,) if isinstance(space, ArchitectureSpace) and _sized(resolve(BASELINE), space) else ()


def _members(space: ArchitectureSpace, drawn: Sample) -> list[CollectNetwork]:
    """The networks of a sample, each once."""
    names = drawn.distributions or ("",) * len(drawn.encodings)
    rows = space.canonical(space.check(drawn.encodings))
    distinct = {row.tobytes(): (row, name) for row, name in zip(rows, names, strict=True)}
    return [CollectNetwork(space.label(row), row, space.build(row), name) for row, name in distinct.values()]


def _baselines(space: ArchitectureSpace, settings: CollectSettings, samples: Collection[str]) -> tuple[CollectNetwork, ...]:
    """The baselines, each once. A baseline that is among the samples is measured as a sample."""
    named = [named_network(name) for name in settings.baselines]
    for one in named:
        if not _sized(one, space):
            sizes = " or ".join(map(str, space.input_sizes))
            raise MeasurementError(f"baseline '{one.name}' has input size {one.input_size}, space '{space.name}' has {sizes}")
    found = {one.architecture_id: one for one in named if one.architecture_id not in samples}
    return tuple(CollectNetwork(one.name, np.empty(0, np.int16), one) for one in found.values())


def _sized(network: Architecture, space: ArchitectureSpace) -> bool:
    """Whether a network has an input size of the space."""
    return network.input_size[0] == network.input_size[1] and network.input_size[0] in space.input_sizes


def _reference_hash(settings: CollectSettings, hardware: Hardware) -> str:
    """SHA-256 of the reference network's file, "" without reference.

    Rows that were timed beside a file of an older writer do not compare with new rows.
    """
    reference = reference_network(settings)
    file_format = latency_format(hardware.format, hardware.id)
    return hashlib.sha256(latency_bytes(reference, file_format)).hexdigest() if reference else ""


def _environment(hardware: Hardware, runner: Runner) -> tuple[Environment | None, str]:
    """The environment of a hardware, or why it cannot be measured from here."""
    why_not = runner.unavailable(hardware)
    if why_not:
        return None, why_not
    try:
        return runner.environment(hardware), ""
    except MhmodelsError as error:
        return None, str(error)
