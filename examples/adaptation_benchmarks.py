"""Measures adapted cost models on published latency tables of dozens of devices, and on the package's own tables.

The program prints a Markdown table for each section, every figure beside the bar that it should reach:

- `myriad`, `pixel3`: NAS-Bench-201, one proxy device, against AdaProxy as published (arXiv 2111.01203);
- `fbnet`: FBNet's space, Pixel3 as the only source;
- `help`: the protocol of HELP (NeurIPS 2021) with nine sources;
- `nasflat`: the device splits of NASFLAT (MLSys 2024) against a plain closed form, with random and with proposed networks;
- `hypervolume`: quality of the Pareto front that a search with the adapted model finds;
- `coverage`: how often intervals of nominally 90 % contain the latency;
- `contamination`: 5 % of the measurements wrong by a factor of 10;
- `speed`: process time of one adaptation;
- `multi_hardware`, `mobilenet_v2_space`, `proxylessnas`: the package's tables, each hardware from the others, against a fit
  without sources.

    python examples/adaptation_benchmarks.py
    python examples/adaptation_benchmarks.py --section fbnet --seeds 3

The tables are read from ../shared/data, which is not part of a clone. Spearman's correlation is that of at most 2,000 random
networks that were not measured; the package's tables also keep tested networks from the sources.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from mhmodels.search import (
    Adapted,
    CostModel,
    Latencies,
    LatencyOrigin,
    PreparedSources,
    SearchSpace,
    adapt,
    get_space,
    prepare_sources,
    propose,
)
from mhmodels.search.adaptation.ada_proxy import ada_proxy
from mhmodels.search.cost_model.adapted.features import (
    NetworkFeatures,
    network_features,
    reference_networks,
    standard_of,
    standardised,
)
from mhmodels.search.cost_model.adapted.kernel_source import linear, similarity, tied
from mhmodels.search.cost_model.adapted.predictor import AdaptedPredictor
from mhmodels.search.cost_model.fitting import fit_to_all
from mhmodels.search.cost_model.latencies.dataset import side_by_side
from mhmodels.search.cost_model.latencies.reading import read_all_hardware
from mhmodels.search.cost_model.shipping import shipped_tables
from mhmodels.search.cost_model.statistics import statistics
from mhmodels.search.errors import CostModelError

Values: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]
DATA = Path(__file__).parents[2] / "shared" / "data"
FILES = {"nas_bench_201": "nasbench201_latency.npz", "fbnet": "fbnet_latency.npz"}
ACCURACIES = "nasbench201_accuracy_200ep.npz"
COLLECTED = ("multi_hardware", "mobilenet_v2_space", "proxylessnas")
"""Spaces whose latencies come with the package."""
MOST_TESTED = 2000
"""Most networks that a correlation is computed over."""

MYRIAD = "myriadvpu_openvino19r2"
PUBLISHED = {
    "edgegpu_tx2": 0.92, "edgetpu_hwnas": 0.90, "eyeriss": 0.98, "fpga": 0.99, "pixel3": 0.90, "adreno640_tflite21": 0.93,
    "cortexA76_tflite21": 0.92, "i7_7820x_tf": 0.90, "sd855_kryo485_cpu_int8": 0.96, "sd855_adreno640_gpu_int8": 0.91,
    "jetson_nano_fp32": 0.94,
}  # fmt: skip
"""Spearman's correlation after AdaProxy from Myriad with 70 networks, by target (arXiv 2111.01203)."""
PIXEL3_TARGETS = (
    "eyeriss", "fpga", "pixel2", "samsung_a50", "samsung_s7", "essential_ph_1", "gold_6226", "edgegpu_tx2", "edgetpu_hwnas",
)  # fmt: skip
HELP_SOURCES = {
    "nas_bench_201": (
        "1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r", "samsung_a50", "pixel3", "essential_ph_1",
        "samsung_s7",
    ),
    "fbnet": (
        "1080ti_1", "1080ti_32", "1080ti_64", "silver_4114", "silver_4210r", "samsung_a50", "pixel3", "essential_ph_1",
        "samsung_s7",
    ),
}  # fmt: skip
HELP_PUBLISHED = {
    ("nas_bench_201", "gold_6226"): 0.989, ("nas_bench_201", "pixel2"): 0.802, ("nas_bench_201", "eyeriss"): 0.940,
    ("nas_bench_201", "fpga"): 0.985, ("fbnet", "eyeriss"): 0.943,
}  # fmt: skip
"""Spearman's correlation of HELP with 20 measured networks, by space and target."""


class DeviceSplit(NamedTuple):
    """Devices of a split of NASFLAT that are in the tables, and the closed form's published figure for all of its devices."""

    space: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    figure: float


SPLITS = {
    "ND": DeviceSplit("nas_bench_201", HELP_SOURCES["nas_bench_201"], ("gold_6226", "fpga", "pixel2", "eyeriss"), 0.958),
    "N1": DeviceSplit(
        "nas_bench_201",
        ("edgetpu_int8_eagle", "eyeriss", "sd855_adreno640_gpu_int8", "pixel3"),
        ("1080ti_1", "titan_rtx_32", "titanxp_1", "2080ti_32"),
        0.903,
    ),
    "N2": DeviceSplit(
        "nas_bench_201", ("1080ti_1", "1080ti_32", "titanx_32", "titanxp_1"), ("edgetpu_int8_eagle", "pixel3"), 0.905
    ),
    "N3": DeviceSplit(
        "nas_bench_201", ("eyeriss", "sd855_adreno640_gpu_int8"), ("1080ti_1", "2080ti_1", "titanxp_1", "2080ti_32"), 0.893
    ),
    "N4": DeviceSplit(
        "nas_bench_201",
        (
            "i7_7820x_tf", "jetson_nano_fp32", "edgetpu_int8_eagle", "eyeriss", "sd855_kryo485_cpu_int8",
            "sd855_adreno640_gpu_int8", "pixel2",
        ),
        ("1080ti_1", "2080ti_1"),
        0.908,
    ),
    "NA": DeviceSplit(
        "nas_bench_201",
        (
            "titan_rtx_32", "titanxp_1", "2080ti_1", "titanx_1", "1080ti_1", "titanx_32", "2080ti_32", "1080ti_32", "gold_6226",
            "samsung_s7", "silver_4114", "gold_6240", "silver_4210r", "samsung_a50", "pixel2",
        ),
        ("eyeriss", "edgetpu_int8_eagle"),
        0.909,
    ),
    "FD": DeviceSplit("fbnet", HELP_SOURCES["fbnet"], ("eyeriss",), 0.973),
    "F1": DeviceSplit(
        "fbnet", ("2080ti_1", "essential_ph_1", "silver_4114", "titan_rtx_32"), ("eyeriss", "samsung_a50", "samsung_s7"), 0.880
    ),
    "F2": DeviceSplit(
        "fbnet",
        ("essential_ph_1", "gold_6226", "gold_6240", "pixel3"),
        ("1080ti_1", "1080ti_32", "2080ti_32", "titanxp_1"),
        0.925,
    ),
    "F3": DeviceSplit(
        "fbnet",
        ("essential_ph_1", "pixel2", "pixel3", "samsung_s7"),
        ("1080ti_1", "1080ti_32", "2080ti_1", "titan_rtx_32"),
        0.926,
    ),
    "F4": DeviceSplit(
        "fbnet",
        (
            "1080ti_64", "2080ti_1", "eyeriss", "gold_6226", "gold_6240", "samsung_s7", "silver_4210r", "titan_rtx_32",
        ),
        ("1080ti_1", "pixel2", "essential_ph_1"),
        0.789,
    ),
    "FA": DeviceSplit(
        "fbnet",
        (
            "1080ti_1", "1080ti_32", "1080ti_64", "2080ti_1", "2080ti_32", "2080ti_64", "titan_rtx_32", "titan_rtx_64",
            "titanx_32", "titanx_64", "titanxp_1", "titanxp_32",
        ),
        ("gold_6226", "essential_ph_1", "samsung_s7", "pixel2"),
        0.709,
    ),
}  # fmt: skip
"""The twelve splits, reduced to the columns at hand."""


class DeviceTable(NamedTuple):
    """Latencies of networks of one space on several devices.

    Attributes:
        space: The space.
        encodings: (n, decisions), int16, the networks.
        ms: By device: (n,), milliseconds, NaN where a network was not measured.
    """

    space: SearchSpace
    encodings: NDArray[np.int16]
    ms: dict[str, Values]

    def known(self, *devices: str) -> Places:
        """Networks that all of some devices have measured."""
        return np.flatnonzero(np.all([np.isfinite(self.ms[name]) for name in devices], axis=0))

    def latencies(self, device: str, networks: Places) -> Latencies:
        """Latencies of some networks on a device, as a source; networks without one are left out."""
        kept = networks[np.isfinite(self.ms[device][networks])]
        return Latencies(self.encodings[kept], self.ms[device][kept], (), LatencyOrigin(device), ())

    def prepared(self, devices: Iterable[str], networks: Places | None = None) -> PreparedSources:
        """Fits devices as sources, to some networks or to all."""
        rows = np.arange(len(self.encodings)) if networks is None else networks
        return prepare_sources(self.space, {name: self.latencies(name, rows) for name in devices})


class Trial(NamedTuple):
    """Networks of one trial: those measured on the target, and those that a model is tested on."""

    measured: Places
    tested: Places


class Chooser(Protocol):
    """Chooses networks to measure on a target."""

    def __call__(self, table: DeviceTable, prepared: PreparedSources, target: str, pool: Places, n: int, seed: int, /) -> Places:
        """Networks (n,) out of a pool."""


def read_tables(folder: Path) -> dict[str, DeviceTable]:
    """Reads the published tables by the name of their space."""
    missing = [name for name in (*FILES.values(), ACCURACIES) if not (folder / name).is_file()]
    if missing:
        sys.exit(f"{folder}: {', '.join(missing)} not found; give the folder of the published tables with --data")
    tables = {}
    for name, file in FILES.items():
        with np.load(folder / file, allow_pickle=False) as stored:
            encodings = stored["ops" if "ops" in stored else "arch"].astype(np.int16)
            columns = stored["latency_ms"].astype(np.float64).T
            ms = dict(zip(stored["devices"].tolist(), columns, strict=True))
        tables[name] = DeviceTable(get_space(name), encodings, ms)
    return tables


def trials(pool: Places, n: int, seeds: int) -> Iterator[Trial]:
    """Draws measured networks, and tested ones from the rest."""
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(pool)
        yield Trial(order[:n], order[n : n + MOST_TESTED])


def adapted(table: DeviceTable, prepared: PreparedSources, target: str, measured: Places) -> Adapted:
    """Adapts sources to a target."""
    return adapt(table.space, prepared, table.encodings[measured], table.ms[target][measured], target)


def rank(table: DeviceTable, model: CostModel, target: str, tested: Places) -> float:
    """Spearman's correlation of predictions and latencies."""
    predicted = model.bind(table.space).predict(table.encodings[tested])
    return correlation(predicted, table.ms[target][tested])


def correlation(first: Values, second: Values) -> float:
    """Spearman's correlation; 0 if all values of one are equal."""
    return float(spearmanr(first, second)[0]) if np.ptp(first) > 0 and np.ptp(second) > 0 else 0.0


def progress(text: str) -> None:
    """Reports on standard error."""
    print(f"{time.process_time():6.0f} s  {text}", file=sys.stderr, flush=True)


def markdown(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Formats a table; numbers have three decimals."""
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    cells = ([f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


def verdict(value: float, bar: float, text: str = "") -> str:
    """A figure that should be at least as high as a bar, with this bar."""
    return f"{value:.3f} (bar ≥ {bar:.3f}{text}: {'met' if value >= bar else 'MISSED'})"


def failing(rows: Mapping[str, tuple[float, float]]) -> str:
    """Names of the targets whose figure is below their own bar."""
    return ", ".join(f"{name} ({value:.3f} < {bar:.3f})" for name, (value, bar) in rows.items() if value < bar) or "none"


def proxy_scores(
    table: DeviceTable, proxy: str, targets: Iterable[str], sizes: Sequence[int], seeds: int, plain: bool = True
) -> dict[str, dict[str, float]]:
    """Mean Spearman's correlation by target: before, after AdaProxy and after `adapt`, by number of measured networks."""
    source, prepared = table.latencies(proxy, np.arange(len(table.encodings))), table.prepared([proxy])
    found: dict[str, dict[str, float]] = {}
    for target in targets:
        pool = table.known(proxy, target)
        scores: dict[str, list[float]] = {"before": []}
        for size in sizes:
            for measured, tested in trials(pool, size, seeds):
                scores["before"].append(correlation(table.ms[proxy][tested], table.ms[target][tested]))
                if plain:
                    ms = table.ms[target][measured]
                    model = ada_proxy(table.space, source, table.encodings[measured], ms, target)
                    scores.setdefault(f"AdaProxy, {size}", []).append(rank(table, model, target, tested))
                model = adapted(table, prepared, target, measured).model
                scores.setdefault(f"adapt, {size}", []).append(rank(table, model, target, tested))
        found[target] = {name: float(np.mean(values)) for name, values in scores.items()}
        progress(f"{proxy} to {target}")
    return found


def score_table(found: dict[str, dict[str, float]], extra: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """Formats the scores of all targets, columns of other figures and the means."""
    extra = extra or {}
    names = list(next(iter(found.values())))
    rows: list[list[object]] = [
        [target, *(scores[name] for name in names), *(column[target] for column in extra.values())]
        for target, scores in found.items()
    ]
    means = [float(np.mean([scores[name] for scores in found.values()])) for name in names]
    others = [float(np.mean([column[target] for target in found])) for column in extra.values()]
    return markdown(["target", *names, *extra], [*rows, ["**mean**", *means, *others]])


def mean_of(found: dict[str, dict[str, float]], name: str) -> float:
    """Mean of a score over targets."""
    return float(np.mean([scores[name] for scores in found.values()]))


def myriad(tables: dict[str, DeviceTable], seeds: int) -> str:
    """NAS-Bench-201 from Myriad."""
    found = proxy_scores(tables["nas_bench_201"], MYRIAD, PUBLISHED, (20, 50), seeds)
    bars = {target: (found[target]["adapt, 50"], PUBLISHED[target] - 0.02) for target in PUBLISHED}
    plain = [f"k = {k}: {mean_of(found, f'AdaProxy, {k}'):.3f} (facts 1.4: {bar})" for k, bar in ((20, 0.871), (50, 0.935))]
    return "\n".join(
        [
            score_table(found, {"published, 70": PUBLISHED}),
            "",
            f"- adapt, mean at k = 20: {verdict(mean_of(found, 'adapt, 20'), 0.89)}",
            f"- adapt, mean at k = 50: {verdict(mean_of(found, 'adapt, 50'), 0.945)}",
            f"- targets below published - 0.02 at k = 50: {failing(bars)}",
            f"- AdaProxy in closed form, {', '.join(plain)}",
        ]
    )


def pixel3(tables: dict[str, DeviceTable], seeds: int) -> str:
    """NAS-Bench-201 from Pixel3."""
    found = proxy_scores(tables["nas_bench_201"], "pixel3", PIXEL3_TARGETS, (50,), seeds)
    guard = {target: (scores["adapt, 50"], scores["before"] - 0.01) for target, scores in found.items()}
    return "\n".join(
        [
            score_table(found),
            "",
            f"- adapt, mean at k = 50: {verdict(mean_of(found, 'adapt, 50'), 0.94)}; AdaProxy: "
            f"{mean_of(found, 'AdaProxy, 50'):.3f} (facts 1.4: 0.928)",
            f"- targets below the measured source - 0.01: {failing(guard)}",
        ]
    )


def fbnet(tables: dict[str, DeviceTable], seeds: int) -> str:
    """FBNet from Pixel3."""
    table = tables["fbnet"]
    targets = ["2080ti_1", *(name for name in table.ms if name not in ("pixel3", "2080ti_1"))]
    found = proxy_scores(table, "pixel3", targets, (10, 20, 50), seeds, plain=False)
    plain = proxy_scores(table, "pixel3", ["2080ti_1"], (50,), seeds)["2080ti_1"]["AdaProxy, 50"]
    guard = {target: (scores["adapt, 50"], scores["before"] - 0.01) for target, scores in found.items()}
    score = found["2080ti_1"]["adapt, 50"]
    return "\n".join(
        [
            score_table(found),
            "",
            f"- 2080ti_1 at k = 50: {verdict(score, 0.95)}; AdaProxy: {plain:.3f}",
            f"- targets below the measured source - 0.01 at k = 50: {failing(guard)}",
        ]
    )


def help_scores(table: DeviceTable, target_names: Sequence[str], sizes: Sequence[int], seeds: int) -> dict[str, dict[str, float]]:
    """HELP's protocol: nine sources with 900 networks, 800 to 1,000 tested networks without the extremes of each target."""
    scores: dict[str, dict[str, list[float]]] = {name: {f"k = {size}": [] for size in sizes} for name in target_names}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(table.encodings))
        prepared = table.prepared(HELP_SOURCES[table.space.name], order[:900])
        for target in target_names:
            pool, tested = trimmed(table.ms[target], order[:900]), trimmed(table.ms[target], order[900:1900])
            for size in sizes:
                measured = np.random.default_rng(1000 + seed).permutation(pool)[:size]
                model = adapted(table, prepared, target, measured).model
                scores[target][f"k = {size}"].append(rank(table, model, target, tested))
        progress(f"HELP, {table.space.name}, seed {seed}")
    return {target: {name: float(np.mean(values)) for name, values in by.items()} for target, by in scores.items()}


def trimmed(ms: Values, networks: Places) -> Places:
    """Networks without the slowest and fastest tenth, as HELP leaves them out."""
    order = networks[np.argsort(ms[networks], kind="stable")]
    tenth = len(order) // 10
    return order[tenth : len(order) - tenth]


def help_protocol(tables: dict[str, DeviceTable], seeds: int) -> str:
    """HELP's protocol on both spaces."""
    lines = []
    for space, bars in (("nas_bench_201", {10: 0.91, 20: 0.925}), ("fbnet", {10: 0.943})):
        published = {target: value for (name, target), value in HELP_PUBLISHED.items() if name == space}
        found = help_scores(tables[space], list(published), (10, 20), seeds)
        lines += [f"{space}:", "", score_table(found, {"HELP, 20": published}), ""]
        lines += [f"- {space}, mean at k = {k}: {verdict(mean_of(found, f'k = {k}'), bar)}" for k, bar in bars.items()]
        goal = float(np.mean(list(published.values())))
        lines += [f"- {space}, stretch, HELP's mean at k = 10: {verdict(mean_of(found, 'k = 10'), goal)}", ""]
    return "\n".join(lines)


class FittedRidge(NamedTuple):
    """A source of the baseline: its networks' features, dual weights, and centre and scale of its log latencies."""

    features: NetworkFeatures
    dual: Values
    centre: float
    scale: float

    def scores(self, features: NetworkFeatures) -> Values:
        """Standardised log latencies (n,) of other networks."""
        return np.asarray((similarity(features, self.features) @ self.dual - self.centre) / self.scale)


class ClosedForm:
    """The plain closed form of the baseline: kernel ridge for each source, then a Gaussian process by marginal likelihood."""

    def __init__(self, table: DeviceTable, sources: Sequence[str], networks: Places) -> None:
        """Fits the sources to their latencies of some networks."""
        self._table = table
        self._standard = standard_of(network_features(table.space, reference_networks(table.space)))
        self._sources = [self._fit(table.latencies(name, networks)) for name in sources]
        self.prepare(networks)

    def prepare(self, networks: Places) -> None:
        """Computes features and scores of the networks that `predict` may be asked about."""
        self._places = {int(network): place for place, network in enumerate(networks)}
        self._features = self._standardised(self._table.encodings[networks])
        scores = np.stack([source.scores(self._features) for source in self._sources], axis=1)
        self._mean = scores.mean(axis=1, keepdims=True)
        self._deviations = scores - self._mean

    def _standardised(self, encodings: NDArray[np.int16]) -> NetworkFeatures:
        return standardised(network_features(self._table.space, encodings), self._standard)

    def _fit(self, known: Latencies) -> FittedRidge:
        """Kernel ridge regression of log latencies; leave-one-out prediction chooses the penalty."""
        features, logs = self._standardised(known.encodings), np.log(known.ms)
        logs = logs - logs.mean()
        kernel = similarity(features, features)
        values, vectors = np.linalg.eigh(kernel)
        projected = vectors.T @ logs

        def dual(penalty: float) -> tuple[float, Values]:
            inverse = 1 / (np.maximum(values, 0.0) + penalty)
            weights = vectors @ (projected * inverse)
            return float(np.mean((weights / (vectors**2 @ inverse)) ** 2)), weights

        _, weights = min((dual(penalty) for penalty in 10.0 ** np.arange(-6.0, 1.1, 0.5)), key=lambda one: one[0])
        fitted = kernel @ weights
        return FittedRidge(features, weights, float(fitted.mean()), float(fitted.std()))

    def _kernels(self, first: Places, second: Places) -> Values:
        """(4, n, m): mean of the sources, deviations, analytic counts, choices."""
        parts = [NetworkFeatures(*(values[places] for values in self._features)) for places in (first, second)]
        decisions = float(self._features.choices[0].sum())
        return np.stack(
            [
                linear(self._mean[first], self._mean[second]),
                linear(self._deviations[first], self._deviations[second]),
                linear(tied(parts[0]), tied(parts[1])),
                parts[0].choices @ parts[1].choices.T / decisions,
            ]
        )

    def predict(self, target: str, measured: Places, tested: Places) -> Values:
        """Log latencies of tested networks on the target given those of measured ones, up to a linear map."""
        known, wanted = (np.array([self._places[int(one)] for one in networks]) for networks in (measured, tested))
        logs = np.log(self._table.ms[target][measured])
        logs = (logs - logs.mean()) / max(float(logs.std()), 1e-9)
        kernels = self._kernels(known, known)

        def covariance(parameters: Values) -> Values:
            variances = np.exp(parameters)
            noise = np.eye(len(logs)) * (variances[-1] + 1e-6)
            return np.asarray(np.tensordot(variances[:-1], kernels, 1) + noise + 1.0)

        def loss(parameters: Values) -> float:
            factor = cho_factor(covariance(parameters), lower=True)
            return float(logs @ cho_solve(factor, logs) / 2 + np.log(np.diag(factor[0])).sum())

        start = np.log([1.0, 0.1, 0.1, 0.0025, 0.05])
        found = minimize(loss, start, method="L-BFGS-B", bounds=[(-14.0, 5.0)] * len(start)).x
        weights = cho_solve(cho_factor(covariance(found), lower=True), logs)
        return np.asarray((np.tensordot(np.exp(found[:-1]), self._kernels(wanted, known), 1) + 1.0) @ weights)


def at_random(_table: DeviceTable, _prepared: PreparedSources, _target: str, pool: Places, n: int, seed: int) -> Places:
    """Draws networks."""
    return np.random.default_rng(seed).permutation(pool)[:n]


def proposed(table: DeviceTable, prepared: PreparedSources, target: str, pool: Places, n: int, seed: int) -> Places:
    """Asks `propose` for networks, five at a time, out of 500 random candidates."""
    candidates = np.random.default_rng(seed).permutation(pool)[:500]
    chosen = candidates[:0]
    while len(chosen) < n:
        known = table.encodings[chosen], table.ms[target][chosen]
        places = propose(prepared, table.encodings[candidates], *known, min(5, n - len(chosen)))
        chosen = np.concatenate([chosen, candidates[places]])
    return chosen


CHOOSERS: dict[str, Chooser] = {"adapt": at_random, "adapt, proposed": proposed}
"""How the measured networks are chosen, by column of the table. Another way to choose is one more entry."""


def split_scores(
    table: DeviceTable, split: DeviceSplit, chosen: Mapping[str, Chooser], seeds: int, n: int = 20
) -> dict[str, dict[str, float]]:
    """Mean correlation by target for the closed form and for `adapt` with each way to choose networks."""
    fitted = np.random.default_rng(99).permutation(table.known(*split.sources))[:800]
    prepared, plain = table.prepared(split.sources, fitted), ClosedForm(table, split.sources, fitted)
    scores: dict[str, dict[str, float]] = {}
    for target in split.targets:
        rest = np.random.default_rng(98).permutation(np.setdiff1d(table.known(target), fitted))
        tested, pool = rest[:MOST_TESTED], rest[MOST_TESTED:] if len(rest) > 2 * MOST_TESTED else rest
        drawn = [at_random(table, prepared, target, pool, n, seed) for seed in range(seeds)]
        plain.prepare(np.unique(np.concatenate([tested, *drawn])))
        found: dict[str, list[float]] = {"closed form": []}
        for seed in range(seeds):
            own = np.setdiff1d(tested, drawn[seed])
            found["closed form"].append(correlation(plain.predict(target, drawn[seed], own), table.ms[target][own]))
            for name, choose in chosen.items():
                measured = choose(table, prepared, target, pool, n, seed)
                model = adapted(table, prepared, target, measured).model
                found.setdefault(name, []).append(rank(table, model, target, np.setdiff1d(tested, measured)))
        scores[target] = {name: float(np.mean(values)) for name, values in found.items()}
    return scores


def nasflat(tables: dict[str, DeviceTable], seeds: int, chosen: Mapping[str, Chooser] = CHOOSERS) -> str:
    """NASFLAT's splits with 20 measured networks."""
    rows: list[list[object]] = []
    means: dict[str, dict[str, float]] = {}
    details: list[list[object]] = []
    for name, split in SPLITS.items():
        found = split_scores(tables[split.space], split, chosen, seeds)
        means[name] = {column: mean_of(found, column) for column in next(iter(found.values()))}
        rows.append([name, len(split.targets), *means[name].values(), split.figure])
        details += [[name, target, *scores.values()] for target, scores in found.items()]
        progress(f"NASFLAT, {name}")
    columns = list(means["ND"])
    totals = {column: mean_of(means, column) for column in columns}
    rows.append(["**mean**", "", *totals.values(), float(np.mean([split.figure for split in SPLITS.values()]))])
    own = {name: (scores["adapt"], scores["closed form"] - 0.01) for name, scores in means.items()}
    lines = [
        markdown(["split", "targets", *columns, "closed form, all devices (facts)"], rows),
        "",
        f"- adapt, mean of splits: {verdict(totals['adapt'], totals['closed form'] + 0.01, ', closed form + 0.01')}",
        f"- splits below the closed form - 0.01: {failing(own)}",
    ]
    bar = totals["adapt"] + 0.01
    lines += [f"- {column}, mean of splits: {verdict(totals[column], bar, ', random + 0.01')}" for column in columns[2:]]
    return "\n".join([*lines, "", markdown(["split", "target", *columns], details)])


def front_of(accuracy: Values, ms: Values) -> Places:
    """Networks that no other one beats in accuracy and latency."""
    order = np.lexsort((-accuracy, ms))
    best = np.maximum.accumulate(accuracy[order])
    return np.asarray(order[np.concatenate([[True], accuracy[order][1:] > best[:-1]])])


def hypervolume_of(accuracy: Values, ms: Values, worst_ms: float, least: float = 80.0) -> float:
    """Area that networks dominate, up to a latency and down to an accuracy in percent."""
    front = front_of(accuracy, ms)
    front = front[(ms[front] < worst_ms) & (accuracy[front] > least)]
    heights = np.diff(accuracy[front], prepend=least)
    return float(np.sum(heights * (worst_ms - ms[front])))


def hypervolume(tables: dict[str, DeviceTable], seeds: int, folder: Path = DATA) -> str:
    """Fronts found with models adapted from Pixel3, measured on the target, against the true fronts."""
    table = tables["nas_bench_201"]
    with np.load(folder / ACCURACIES, allow_pickle=False) as stored:
        accuracy = stored["acc"][:, stored["columns"].tolist().index("cifar10_test")].astype(np.float64)
    prepared = table.prepared(["pixel3"])
    rows: list[list[object]] = []
    for target in (name for name in table.ms if name != "pixel3"):
        pool = table.known("pixel3", target)
        ms, known = table.ms[target][pool], accuracy[pool]
        worst = float(np.quantile(ms, 0.98))
        true = hypervolume_of(known, ms, worst)

        def ratio(guess: Values, ms: Values = ms, known: Values = known, worst: float = worst, true: float = true) -> float:
            front = front_of(known, guess)
            return hypervolume_of(known[front], ms[front], worst) / true

        ratios = []
        for seed in range(seeds):
            measured = np.random.default_rng(seed).permutation(pool)[:50]
            predictor = adapted(table, prepared, target, measured).model.bind(table.space)
            ratios.append(ratio(predictor.predict(table.encodings[pool])))
        reuse = ratio(table.ms["pixel3"][pool])
        rows.append([target, len(pool), reuse, float(np.mean(ratios)), min(ratios), "yes" if np.mean(ratios) >= 0.98 else "no"])
        progress(f"hypervolume, {target}")
    share = float(np.mean([row[-1] == "yes" for row in rows]))
    headings = ["target", "networks", "Pixel3 reused", "adapt, mean", "adapt, least", "at least 0.98"]
    lines = [markdown(headings, rows), "", f"- share of targets with at least 0.98: {verdict(share, 0.8)}"]
    return "\n".join(lines)


def covered(table: DeviceTable, prepared: PreparedSources, target: str, size: int, seeds: int) -> tuple[float, float]:
    """Share of the tested latencies within their intervals of 90 %, and median ratio of the intervals' ends."""
    shares, widths = [], []
    for measured, tested in trials(table.known(target), size, seeds):
        predictor = adapted(table, prepared, target, measured).model.bind(table.space)
        assert isinstance(predictor, AdaptedPredictor)
        part = tested[:500]
        low, high = predictor.interval(table.encodings[part], 0.9)
        ms = table.ms[target][part]
        shares.append(float(np.mean((low <= ms) & (ms <= high))))
        widths.append(float(np.median(high / low)))
    return float(np.mean(shares)), float(np.mean(widths))


def coverage(tables: dict[str, DeviceTable], seeds: int) -> str:
    """Coverage of intervals of nominally 90 % with one and with several sources."""
    settings = [
        (name, sources, [target for target in tables[name].ms if target not in sources])
        for name in FILES
        for sources in (("pixel3",), HELP_SOURCES[name])
    ]
    rows: list[list[object]] = []
    for name, sources, targets in settings:
        table = tables[name]
        prepared = table.prepared(sources)
        for size in (10, 20, 50):
            shares = {target: covered(table, prepared, target, size, seeds) for target in targets}
            values = np.array([share for share, _ in shares.values()])
            least, most = (min(shares, key=lambda one: shares[one][0]), max(shares, key=lambda one: shares[one][0]))
            mean = float(values.mean())
            inside = int(((values >= 0.85) & (values <= 0.95)).sum())
            ends = f"{least} {shares[least][0]:.3f}", f"{most} {shares[most][0]:.3f}"
            width = float(np.median([width for _, width in shares.values()]))
            met = "met" if 0.85 <= mean <= 0.95 else "MISSED"
            rows.append([name, len(sources), size, mean, met, f"{inside} of {len(values)}", *ends, width])
            progress(f"coverage, {name}, {len(sources)} sources, k = {size}")
    headings = ["space", "sources", "k", "mean", "bar 0.85–0.95", "targets inside", "lowest", "highest", "median high / low"]
    return markdown(headings, rows)


def contamination(tables: dict[str, DeviceTable], seeds: int) -> str:
    """5 % of the measurements times 0.1 or 10, NAS-Bench-201 from Pixel3."""
    table = tables["nas_bench_201"]
    prepared = table.prepared(["pixel3"])
    rows: list[list[object]] = []
    losses: dict[tuple[int, float], list[float]] = {}
    for target in PIXEL3_TARGETS:
        row: list[object] = [target]
        for size in (20, 50):
            scores: dict[float, list[float]] = {1.0: [], 0.1: [], 10.0: []}
            for measured, tested in trials(table.known("pixel3", target), size, seeds):
                for factor, values in scores.items():
                    ms = table.ms[target][measured].copy()
                    # The measured networks are in random order.
                    ms[: max(round(0.05 * size), 1)] *= factor
                    model = adapt(table.space, prepared, table.encodings[measured], ms, target).model
                    values.append(rank(table, model, target, tested[:1000]))
            means = {factor: float(np.mean(values)) for factor, values in scores.items()}
            row += list(means.values())
            for factor in (0.1, 10.0):
                losses.setdefault((size, factor), []).append(means[1.0] - means[factor])
        rows.append(row)
        progress(f"contamination, {target}")
    headings = ["target", *(f"k = {size}, {name}" for size in (20, 50) for name in ("clean", "× 0.1", "× 10"))]
    lines = [markdown(headings, rows), ""]
    for (size, factor), values in losses.items():
        mean, worst = float(np.mean(values)), int(np.argmax(values))
        lines.append(
            f"- k = {size}, × {factor:g}: mean loss {mean:.4f} (bar ≤ 0.01: {'met' if mean <= 0.01 else 'MISSED'}), largest "
            f"{values[worst]:.4f} ({PIXEL3_TARGETS[worst]})"
        )
    return "\n".join(lines)


def speed(tables: dict[str, DeviceTable], seeds: int) -> str:
    """Process time of one adaptation after the sources are fitted."""
    rows: list[list[object]] = []
    for name, target in (("nas_bench_201", "gold_6226"), ("fbnet", "gold_6226")):
        table = tables[name]
        for sources in (("pixel3",), HELP_SOURCES[name]):
            start = time.process_time()
            prepared = table.prepared(sources)
            fitting = time.process_time() - start
            for size in (10, 20, 50):
                times = []
                for measured, _ in trials(table.known(target), size, seeds):
                    start = time.process_time()
                    adapted(table, prepared, target, measured)
                    times.append(time.process_time() - start)
                middle = float(np.median(times))
                rows.append([name, len(sources), fitting, size, middle, max(times), "met" if middle < 0.1 else "MISSED"])
        progress(f"speed, {name}")
    return markdown(["space", "sources", "fit of sources, s", "k", "adapt, median s", "slowest s", "bar < 0.1 s"], rows)


def collected_table(name: str) -> DeviceTable:
    """The latencies of a space that come with the package."""
    space = get_space(name)
    found: dict[str, Latencies] = {}
    for path in shipped_tables(space):
        found.update(read_all_hardware(path, space))
    joined = side_by_side(found)
    return DeviceTable(space, joined.encodings, joined.ms)


def hardware_scores(table: DeviceTable, target: str, seeds: int) -> dict[str, list[float]]:
    """Correlations and mean errors on networks that neither the sources nor the measurements of the target have."""
    pool = np.random.default_rng(0).permutation(table.known(target))
    count = min(300, len(pool) // 2)
    tested, rest = pool[:count], pool[count:]
    sources = np.setdiff1d(np.arange(len(table.encodings)), tested)
    prepared = table.prepared([name for name in table.ms if name != target], sources)
    found: dict[str, list[float]] = {}
    for size in (10, 20):
        for seed in range(seeds):
            measured = np.random.default_rng(seed).permutation(rest)[:size]
            encodings, ms = table.encodings[measured], table.ms[target][measured]
            for name in ("adapt", "fit"):
                try:
                    if name == "adapt":
                        model = adapted(table, prepared, target, measured).model
                    else:
                        model = fit_to_all(table.space, encodings, ms, LatencyOrigin(target)).model
                    predicted = model.bind(table.space).predict(table.encodings[tested])
                except (CostModelError, np.linalg.LinAlgError) as error:
                    progress(f"{target}: {name} cannot use {size} networks: {error}")
                    continue
                report = statistics(table.ms[target][tested], predicted)
                found.setdefault(f"{name}, {size}", []).append(report.spearman or 0.0)
                found.setdefault(f"{name}, {size}, error", []).append(report.mape)
    return found


def collected(_tables: dict[str, DeviceTable], seeds: int, space: str) -> str:
    """Each hardware of the package's tables of a space from the others, against a fit without sources."""
    table = collected_table(space)
    rows: list[list[object]] = []
    scores: dict[str, list[float]] = {}
    worse = []
    for target in table.ms:
        found = hardware_scores(table, target, seeds)
        row: list[object] = [target]
        for size in (10, 20):
            for name in (f"adapt, {size}", f"fit, {size}"):
                values, errors = found.get(name, []), found.get(f"{name}, error", [])
                cells = (float(np.mean(values)), float(np.mean(errors))) if len(values) == seeds else (np.nan, np.nan)
                scores.setdefault(name, []).append(cells[0])
                scores.setdefault(f"{name}, error", []).append(cells[1])
                failed = f" ({seeds - len(values)} of {seeds} failed)" if len(values) < seeds else ""
                row += [cells[0], f"{cells[1]:.1%}{failed}"]
            if not scores[f"adapt, {size}, error"][-1] < scores[f"fit, {size}, error"][-1]:
                worse.append(f"{target} at {size}")
        rows.append(row)
        progress(f"{space}, {target}")
    totals = [
        (float(np.mean(scores[name])), f"{np.mean(scores[f'{name}, error']):.1%}") for name in scores if "error" not in name
    ]
    rows.append(["**mean**", *(cell for pair in totals for cell in pair)])
    names = [f"{name}, {size}" for size in (10, 20) for name in ("adapt", "fit")]
    headings = ["target", *(heading for name in names for heading in (name, "mean error"))]
    lines = [
        markdown(headings, rows),
        "",
        f"- adapt, mean at k = 10: {verdict(float(np.mean(scores['adapt, 10'])), 0.98)}",
        f"- targets whose error is not lower than that of the fit without sources: {', '.join(worse) or 'none'}",
    ]
    return "\n".join(lines)


class BenchmarkSection(NamedTuple):
    """A section: what it computes, and its default number of seeds."""

    run: Callable[..., str]
    seeds: int


SECTIONS = {
    "myriad": BenchmarkSection(myriad, 10),
    "pixel3": BenchmarkSection(pixel3, 10),
    "fbnet": BenchmarkSection(fbnet, 5),
    "help": BenchmarkSection(help_protocol, 20),
    "nasflat": BenchmarkSection(nasflat, 5),
    "hypervolume": BenchmarkSection(hypervolume, 10),
    "coverage": BenchmarkSection(coverage, 3),
    "contamination": BenchmarkSection(contamination, 10),
    "speed": BenchmarkSection(speed, 10),
    **{space: BenchmarkSection(functools.partial(collected, space=space), 10) for space in COLLECTED},
}


def main() -> None:
    """Runs the requested sections and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="Folder of the published tables (default: ../shared/data).")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="Run only this section; may be repeated.")
    parser.add_argument("--seeds", type=int, help="Number of seeds of each section (default: 3 to 20, by section).")
    given = parser.parse_args()
    if given.seeds is not None and given.seeds < 1:
        parser.error(f"--seeds is {given.seeds}, expected at least 1")
    tables = read_tables(given.data)
    for name in given.section or SECTIONS:
        section, start = SECTIONS[name], time.process_time()
        extra: dict[str, Any] = {"folder": given.data} if name == "hypervolume" else {}
        seeds = given.seeds or section.seeds
        with threadpool_limits(1, "blas"):
            text = section.run(tables, seeds, **extra)
        print(f"## {name} ({seeds} seeds, {time.process_time() - start:.0f} s)\n\n{text}\n", flush=True)


if __name__ == "__main__":
    main()
