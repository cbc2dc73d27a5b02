"""Latencies of several devices, from the files and the store that options name, or from the collections of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import note
from mhmodels.cli.option_groups import option_group
from mhmodels.errors import UnknownNameError
from mhmodels.search.cli.options import INPUT_FILE, F, where_option

if TYPE_CHECKING:
    from mhmodels.search.arrays import Floats
    from mhmodels.search.cost_model.latencies.dataset import Latencies
    from mhmodels.search.space.search_space import SearchSpace


@dataclass(frozen=True)
class DeviceOptions:
    """Where the latencies of the devices come from, and which devices are compared.

    Attributes:
        data: Files of latencies.
        store: Path of a measurement store; None for none.
        listed: Ids of hardware as given, several joined by commas; empty for all.
        source: Id of the hardware whose pairs are compared; None for all pairs.
        where: Conditions of the store's rows.
    """

    data: tuple[Path, ...]
    store: str | None
    listed: tuple[str, ...]
    source: str | None
    where: tuple[str, ...]

    @property
    def hardware(self) -> tuple[str, ...]:
        """Ids of the hardware to compare, each once, the source first; empty for all."""
        words = [word for listed in self.listed for word in listed.replace(",", " ").split()]
        return tuple(dict.fromkeys([self.source, *words] if words and self.source else words))


device_options = option_group(
    "devices",
    DeviceOptions,
    click.option(
        "--data",
        type=INPUT_FILE,
        multiple=True,
        metavar="FILE",
        help="Latencies in the formats of `search fit --data`; may be repeated. A column `hardware` names the device of each "
        "row; a file without it is one device, named as the file. Default: the collections of the space that come with the "
        "package.",
    ),
    click.option(
        "--store",
        type=click.Path(dir_okay=False),
        default=None,
        metavar="FILE",
        help="SQLite file with stored measurements, whose hardware is compared, alone or together with that of --data. Default: "
        "none.",
    ),
    click.option(
        "--hardware",
        "listed",
        multiple=True,
        metavar="ID...",
        help="Ids of the hardware to compare, separated by blanks or commas; may be repeated. Default: all.",
    ),
    click.option(
        "--source",
        default=None,
        metavar="ID",
        help="Compare only this hardware with each of the others, for example the one that you have a cost model of.",
    ),
    where_option,
)


def profiled_device_options(data: str) -> Callable[[F], F]:
    """Makes `--data`, `--store` and `--hardware` of commands that profile devices one by one.

    Args:
        data: Help of `--data`.
    """
    options = (
        click.option("--data", type=INPUT_FILE, multiple=True, metavar="FILE", help=data),
        click.option(
            "--store",
            type=click.Path(dir_okay=False),
            default=None,
            metavar="FILE",
            help="SQLite file with stored measurements, alone or together with --data. Default: none.",
        ),
        click.option(
            "--hardware",
            "listed",
            multiple=True,
            metavar="ID...",
            help="Ids of the hardware to profile, separated by blanks or commas; may be repeated. Default: all.",
        ),
    )

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def files_read(data: Sequence[Path], store: str | None) -> list[Path]:
    """Files that the command reads, with the provenance beside tables: nothing may be written there.

    Args:
        data: Values of `--data`.
        store: Value of `--store`.
    """
    from mhmodels.search.cli import latency_data

    return [path for one in (*data, None) for path in latency_data.files_read(one, store)]


def check_where(devices: DeviceOptions, where: Mapping[str, str]) -> None:
    """Refuses conditions of rows without a store.

    Raises:
        click.UsageError: There are conditions and no store.
    """
    if where and devices.store is None:
        raise click.UsageError("--where chooses rows of a --store, expected one")


def tell_remarks(found: Mapping[str, Latencies]) -> None:
    """Prints the remarks on the latencies of each hardware."""
    for name, one in found.items():
        for remark in one.remarks:
            note(f"{name}: {remark}")


def latencies(space: SearchSpace, devices: DeviceOptions, where: Mapping[str, str]) -> dict[str, Latencies]:
    """Reads the latencies of the hardware that was asked for.

    Args:
        space: Space of the networks.
        devices: Files, store and choice of devices.
        where: Conditions of the store's rows.

    Returns:
        Latencies by hardware id, in the order of `--hardware`, else the source first and then in the order of the files.

    Raises:
        click.UsageError: There is no file, store or collection, or a hardware is in two of them.
        UnknownNameError: A hardware that was asked for has no latencies.
        CostModelError: The store has no usable latencies of a hardware that was asked for.
    """
    found: dict[str, Latencies] = {}
    left_out: dict[str, str] = {}
    for origin, each in _sources(space, devices, where, left_out):
        for name, one in each.items():
            if name in found:
                raise click.UsageError(
                    f"hardware '{name}' is in {origin} and in another file or store: their conditions may differ; give one of "
                    "them, or another id in the column 'hardware'"
                )
            found[name] = one
    return _chosen(space, found, devices, left_out)


def read(space: SearchSpace, devices: DeviceOptions, where: Mapping[str, str]) -> dict[str, Floats]:
    """Reads the latencies of the devices that were asked for, and prints remarks on them.

    Args:
        space: Space of the networks.
        devices: Files, store and choice of devices.
        where: Conditions of the store's rows.

    Returns:
        By name of the device, in the order of `--hardware`, else the source first and then in the order of the files: (n,),
        float64, ms, NaN for networks without a latency on the device.

    Raises:
        click.UsageError: There is no file, store or collection, or there are conditions and no store.
        UnknownNameError: A device that was asked for has no latencies.
        CostModelError: Fewer than two devices have latencies.
    """
    import numpy as np

    from mhmodels.search.cost_model.latencies.dataset import side_by_side
    from mhmodels.search.cost_model.latencies.units import unit_gap
    from mhmodels.search.errors import CostModelError

    check_where(devices, where)
    chosen = latencies(space, devices, where)
    if len(chosen) < 2:
        there = f"only on '{next(iter(chosen))}'" if chosen else "on no hardware"
        raise CostModelError(f"there are latencies {there}, expected at least two devices to compare")
    tell_remarks(chosen)
    doubt = unit_gap({name: float(np.median(one.ms)) for name, one in chosen.items()})
    if doubt:
        note(f"WARNING: {doubt}")
    return side_by_side(chosen).ms


def _sources(
    space: SearchSpace, devices: DeviceOptions, where: Mapping[str, str], left_out: dict[str, str]
) -> Iterator[tuple[str, Mapping[str, Latencies]]]:
    """Yields each file and the store, with the latencies by hardware, and prints remarks on shipped collections.

    Args:
        space: Space of the networks.
        devices: Files, store and choice of devices.
        where: Conditions of the store's rows.
        left_out: Is filled with the hardware that the store has no usable latencies of, and the reasons.

    Raises:
        click.UsageError: There is no file, store or collection.
    """
    from mhmodels.search.cost_model.latencies.reading import read_all_hardware
    from mhmodels.search.cost_model.latencies.stored import stored_on_all_hardware
    from mhmodels.search.cost_model.shipping import remarks_on_table
    from mhmodels.store import Store

    for path in _files(space, devices):
        found = read_all_hardware(path, space, devices.hardware)
        for remark in remarks_on_table(path, space, found) if not devices.data and found else ():
            note(remark)
        yield str(path), found
    if devices.store is not None:
        with Store(devices.store, read_only=True) as store:
            stored = stored_on_all_hardware(store, space, devices.hardware, where)
        left_out.update(stored.left_out)
        yield devices.store, stored.latencies


def _files(space: SearchSpace, devices: DeviceOptions) -> tuple[Path, ...]:
    """The files of `--data`; without them and without a store, the collections of the space that come with the package."""
    from mhmodels.search.cost_model.shipping import shipped_tables

    if devices.data or devices.store is not None:
        return devices.data
    shipped = shipped_tables(space)
    if not shipped:
        raise click.UsageError(
            f"no collection of latencies of '{space.name}' comes with the package, expected --data FILE or --store FILE"
        )
    return shipped


def _chosen(
    space: SearchSpace, found: Mapping[str, Latencies], devices: DeviceOptions, left_out: Mapping[str, str]
) -> dict[str, Latencies]:
    """The devices that were asked for, in that order.

    Devices of the store without usable latencies are an error where they were asked for, and a note otherwise.
    """
    from mhmodels.search.errors import CostModelError

    wanted = devices.hardware or tuple(dict.fromkeys([devices.source, *found] if devices.source else found))
    for name in wanted:
        if name in left_out and name not in found:
            raise CostModelError(left_out[name])
        if name not in found:
            raise UnknownNameError("hardware with latencies", name, _known(space, devices))
    for name, reason in left_out.items():
        if name not in found:
            note(f"{name} is left out: {reason}")
    return {name: found[name] for name in wanted}


def _known(space: SearchSpace, devices: DeviceOptions) -> list[str]:
    """Ids of all hardware in the files and the store.

    Args:
        space: Space of the networks.
        devices: Files and store.
    """
    from mhmodels.search.cost_model.latencies.reading import hardware_in
    from mhmodels.store import Store

    names = [name for path in _files(space, devices) for name in hardware_in(path)]
    if devices.store is not None:
        with Store(devices.store, read_only=True) as store:
            names += store.hardware()
    return names
