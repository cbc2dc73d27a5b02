"""Options of `search run` and `resume` that measure the found Pareto front, or take its measured latencies from a table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from mhmodels.cli.common import store_option
from mhmodels.cli.option_groups import option_group
from mhmodels.cli.phone_options import PhoneOptions, phone_settings_options, phone_settings_parameters
from mhmodels.search.cli.options import INPUT_FILE, runs_option, threads_option

if TYPE_CHECKING:
    from mhmodels.search.objective.objective import Objective
    from mhmodels.search.run.evaluations import Evaluations
    from mhmodels.search.run.front.judging import FrontLatencies

    FrontSource: TypeAlias = Callable[[Evaluations], FrontLatencies]

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class _OwnOptions:
    """Values of the options of this module, by the names of their parameters."""

    measure_front: bool
    front_latencies: Path | None
    store: str | None
    runs: int
    threads: int
    timing_reference: str | None


@dataclass(frozen=True)
class FrontOptions(_OwnOptions):
    """Where measured latencies of the found front come from, and how they are measured.

    Attributes:
        measure_front: Whether the members are measured on the hardware of the search.
        front_latencies: Table of their measured latencies; None for none.
        store: Measurements file; None for the default one.
        runs: Number of timed inferences per block.
        threads: Number of threads of the TFLite runtime.
        timing_reference: Network to time in turns with the members; "" for none, None for the default.
        phones: Settings of phones.
    """

    phones: PhoneOptions

    @property
    def wanted(self) -> bool:
        """Whether the found front is judged by measured latencies."""
        return self.measure_front or self.front_latencies is not None

    def check(self, given: Collection[str]) -> None:
        """Refuses both sources of measured latencies, and options without effect.

        Args:
            given: Names of the parameters on the command line.

        Raises:
            click.UsageError: The message names the option.
        """
        if self.measure_front and self.front_latencies is not None:
            raise click.UsageError(
                "latencies of the front are measured (--measure-front) or come from a table (--front-latencies): give one of both"
            )
        of_measuring = [field.name for field in fields(_OwnOptions) if field.name not in ("measure_front", "front_latencies")]
        context = click.get_current_context()
        for parameter in context.command.params:
            if (
                not self.measure_front
                and parameter.name in (*of_measuring, *phone_settings_parameters())
                and parameter.name in given
            ):
                raise click.UsageError(f"{max(parameter.opts, key=len)} belongs to --measure-front")

    def opened(self, objective: Objective) -> FrontSource:
        """Opens the table, or checks that the hardware can be measured from here, before anything is searched.

        Args:
            objective: Objective of the search.

        Returns:
            The function that gives the latencies of the found members.

        Raises:
            MhmodelsError: The table lacks a hardware, or the front cannot be measured; the message names the option.
        """
        space, hardware = objective.space, list(objective.sources)
        if self.front_latencies is not None:
            from mhmodels.search.run.front.table import open_front_table

            table = open_front_table(self.front_latencies, space, hardware)
            return lambda members: table.latencies(space, members.encodings)
        from mhmodels.cli.phones import phone_runner, with_phones
        from mhmodels.search.cli.front.display import measuring
        from mhmodels.search.collecting.settings import REFERENCE, CollectSettings
        from mhmodels.search.run.front.measuring import check_measurable, measure_latencies

        reference = REFERENCE if self.timing_reference is None else self.timing_reference
        settings = CollectSettings(runs=self.runs, threads=self.threads, reference=reference)
        known = with_phones(phone_runner(self.phones, self.store))
        check_measurable(objective, self.store, settings, known)
        return lambda members: measure_latencies(
            space, members.encodings, hardware, store=self.store, settings=settings, known=known, shown=measuring
        )


_own_options = option_group(
    "own",
    _OwnOptions,
    click.option(
        "--measure-front",
        is_flag=True,
        help="After the search, measure its Pareto-optimal networks (accuracy against latency, with several hardware against f) "
        "on the hardware of the search, and drop those that are dominated by measured latencies. Networks in --store are not "
        "measured again. Whether the hardware can be reached is checked before the search.",
    ),
    click.option(
        "--front-latencies",
        type=INPUT_FILE,
        default=None,
        metavar="FILE|NAME",
        help="Like --measure-front, but take the measured latencies from a table, for spaces without networks "
        "(nas_bench_201) and hardware elsewhere: a file in the formats of `search fit --data`, the table of NAS-Bench-201 "
        "(.npz), or a table in the package (nas_bench_macro).",
    ),
    store_option,
    runs_option("With --measure-front: "),
    threads_option("With --measure-front: "),
    click.option(
        "--timing-reference",
        default=None,
        metavar="MODEL",
        help="With --measure-front: network whose inferences alternate with those of each measured network on this machine's "
        "CPU, as --reference of `search collect`; '' for none. Default: mobilenet_v2.",
    ),
)


def front_options(command: F) -> F:
    """Adds the options of a measured front to a command, which gets their values as one argument `front`."""

    @functools.wraps(command)
    def joined(*, own: _OwnOptions, phones: PhoneOptions, **values: Any) -> object:
        stated = {field.name: getattr(own, field.name) for field in fields(own)}
        return command(front=FrontOptions(**stated, phones=phones), **values)

    decorated: Any = _own_options(phone_settings_options(joined))
    result: F = decorated
    return result
