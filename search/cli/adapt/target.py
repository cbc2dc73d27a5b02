"""The target of `search adapt`: a file of latencies, or hardware on which the chosen networks are measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import note
from mhmodels.cli.phone_options import PhoneOptions

if TYPE_CHECKING:
    from mhmodels.hardware import HardwareCollection
    from mhmodels.search.adaptation.loop import AdaptStep, MeasuredAdaptation
    from mhmodels.search.adaptation.sources import PreparedSources
    from mhmodels.search.arrays import Floats
    from mhmodels.search.cli.adapt.options import TargetOptions
    from mhmodels.search.cost_model.latencies.dataset import Latencies
    from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
    from mhmodels.search.space.search_space import Encodings, SearchSpace


class AdaptTarget(ABC):
    """Hardware to adapt to.

    Attributes:
        hardware: Hardware id.
    """

    hardware: str

    @abstractmethod
    def adapt(self, prepared: PreparedSources, seed: int) -> MeasuredAdaptation:
        """Adapts sources to this target.

        Args:
            prepared: The sources.
            seed: Random seed of the networks to choose from.
        """

    @abstractmethod
    def origin(self, encodings: Encodings) -> LatencyOrigin:
        """Conditions of the latencies of networks (n, decisions)."""


def open_target(space: SearchSpace, options: TargetOptions, phones: PhoneOptions, where: Mapping[str, str]) -> AdaptTarget:
    """Opens the target, and checks before anything is fitted that it can be read or measured.

    Raises:
        click.UsageError: Options contradict each other.
        MhmodelsError: The file cannot be read, or the hardware cannot be measured from here.
    """
    if options.data is not None:
        return TableTarget(space, options, where)
    if options.kind is not None:
        raise click.UsageError("--kind belongs to --data: the kind of what is measured is known")
    return MeasuredTarget(space, options, phones)


class TableTarget(AdaptTarget):
    """Latencies of a file."""

    def __init__(self, space: SearchSpace, options: TargetOptions, where: Mapping[str, str]) -> None:
        """Reads the file."""
        from mhmodels.search.cli import latency_data
        from mhmodels.search.cost_model.latencies.reading import hardware_in

        assert options.data is not None
        names = hardware_in(options.data)
        if options.hardware is None and len(names) > 1:
            raise click.UsageError(f"--data {options.data} is of {', '.join(names)}: say with --target which of them is meant")
        self.hardware = options.hardware or names[0]
        self._budget, self._enough = options.budget, options.enough
        self._found: Latencies = latency_data.read(space, options.data, options.store, self.hardware, options.kind, where)
        for remark in self._found.remarks:
            note(remark)
        self._doubts = latency_data.unit_doubts(space, self._found, options.store)

    def origin(self, encodings: Encodings) -> LatencyOrigin:
        return self._found.origin

    def adapt(self, prepared: PreparedSources, seed: int) -> MeasuredAdaptation:
        from mhmodels.search.adaptation.adapting import adapt
        from mhmodels.search.adaptation.loop import MeasuredAdaptation, adapt_by_measuring
        from mhmodels.search.space.tabular import Table

        found = self._found
        if self._budget is None:
            adapted = adapt(prepared.space, prepared, found.encodings, found.ms, found.origin, self._doubts)
            return MeasuredAdaptation(adapted, found.encodings, found.ms, (), "candidates", 0)
        table = Table(prepared.space, found.encodings, {"ms": found.ms})
        return adapt_by_measuring(
            prepared,
            found.encodings,
            lambda rows: table.evaluate(rows, "ms"),
            self.origin,
            self._budget,
            enough=self._enough,
            doubts=self._doubts,
            advance=tell_step,
        )


class MeasuredTarget(AdaptTarget):
    """Hardware on which networks are measured; latencies in the store are not measured again."""

    def __init__(self, space: SearchSpace, options: TargetOptions, phones: PhoneOptions) -> None:
        """Checks that the space has networks and that the hardware can be measured from here."""
        from mhmodels.cli.phones import phone_runner, with_phones
        from mhmodels.search.collecting.plan import usual_baselines
        from mhmodels.search.collecting.settings import REFERENCE, CollectSettings
        from mhmodels.search.run.front.measuring import absent_hardware

        assert options.hardware is not None
        self.hardware, self._space, self._options = options.hardware, space, options
        self._known: HardwareCollection = with_phones(phone_runner(phones, options.store))
        reference = REFERENCE if options.reference is None else options.reference
        self._settings = CollectSettings(
            runs=options.runs, threads=options.threads, reference=reference, baselines=usual_baselines(space)
        )
        absent_hardware(space, [self.hardware], options.store, self._settings, self._known)

    def adapt(self, prepared: PreparedSources, seed: int) -> MeasuredAdaptation:
        from mhmodels.search.adaptation.loop import adapt_by_measuring, candidate_networks
        from mhmodels.search.cli.adapt.options import BUDGET

        options, candidates = self._options, candidate_networks(self._space, seed)
        budget = options.budget or BUDGET
        return adapt_by_measuring(
            prepared, candidates, self._measure, self.origin, budget, enough=options.enough, advance=tell_step
        )

    def origin(self, encodings: Encodings) -> LatencyOrigin:
        from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
        from mhmodels.search.cost_model.latencies.stored import look_up
        from mhmodels.search.space.template import ArchitectureSpace
        from mhmodels.store import Store

        assert isinstance(self._space, ArchitectureSpace)
        with Store(self._options.store, read_only=True) as rows:
            return look_up(rows, self._space, list(encodings), LatencyOrigin(self.hardware))[1]

    def _measure(self, rows: Encodings) -> Floats:
        from mhmodels.search.cli.collect_display import progress_bars
        from mhmodels.search.run.front.measuring import measure_latencies

        found = measure_latencies(
            self._space,
            rows,
            [self.hardware],
            store=self._options.store,
            settings=self._settings,
            known=self._known,
            shown=progress_bars,
        )
        for (place, _), reason in found.reasons.items():
            note(f"{self._space.label(rows[place])} has no latency: {reason}")
        return found.ms[:, 0]


def tell_step(step: AdaptStep) -> None:
    """Prints the state after a batch on stderr."""
    interval = step.interval
    known = "" if interval is None else f": Spearman {interval.spearman:.3f} ({interval.low:.3f} to {interval.high:.3f})"
    note(f"{step.measured} networks measured{known}")
