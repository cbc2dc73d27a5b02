"""Measures how often confidence intervals of Spearman's correlation contain the correlation over all networks.

The program takes every pair of devices in two published tables, NAS-Bench-201 (33 devices) and FBNet (22 devices). For each pair
it samples n networks, computes intervals from the sample, and compares them with Spearman's correlation over all networks that
both devices have measured. It prints Markdown tables:

1. coverage of each kind of interval, by the number of networks and the correlation over all networks, at a nominal 90 %;
2. the kind that `mhmodels search monotonicity` uses: misses on each side, width, and the pairs of devices with least coverage;
3. how often the decisions of `mhmodels search monotonicity` are wrong.

    python examples/monotonicity_coverage.py --samples 50
    python examples/monotonicity_coverage.py --samples 10 --bootstrap 199

The tables are read from ../shared/data (nasbench201_latency.npz and fbnet_latency.npz), which is not part of a clone.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import rankdata

from mhmodels.search.adaptation.rank_interval import (
    RankInterval,
    bonett_wright_error,
    correlation,
    fisher_z,
    leave_one_out,
    rank_interval,
)

DATA = Path(__file__).parents[2] / "shared" / "data"
TABLES = ("nasbench201_latency.npz", "fbnet_latency.npz")
BANDS = {"below 0.5": (-1.0, 0.5), "0.5–0.8": (0.5, 0.8), "0.8–0.95": (0.8, 0.95), "above 0.95": (0.95, 1.1)}
NUMBERS = (10, 20, 50)
CONFIDENCE, THRESHOLD = 0.9, 0.9
QUANTILE = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
USED = "larger error of the two"

Values = NDArray[np.float64]
Limits = tuple[float, float]


class Pair(NamedTuple):
    """Latencies of the networks that two devices have measured, and Spearman's correlation over all of them."""

    names: str
    first: Values
    second: Values
    truth: float


class Result(NamedTuple):
    """Samples of one pair of devices: their correlations, (samples,), and limits by kind of interval, (samples, 2)."""

    pair: Pair
    correlations: Values
    limits: dict[str, Values]


def pairs(folder: Path) -> Iterator[Pair]:
    """Yields all pairs of devices of the tables."""
    for name in TABLES:
        with np.load(folder / name, allow_pickle=False) as table:
            latencies, devices = table["latency_ms"].astype(np.float64), table["devices"].tolist()
        latencies[~(latencies > 0)] = np.nan
        for i, j in itertools.combinations(range(len(devices)), 2):
            both = np.isfinite(latencies[:, i]) & np.isfinite(latencies[:, j])
            first, second = latencies[both, i], latencies[both, j]
            yield Pair(f"{devices[i]} and {devices[j]}", first, second, correlation(first, second))


def intervals(first: Values, second: Values, resamples: int, random: np.random.Generator) -> dict[str, Limits]:
    """Computes the limits of each kind of interval."""
    own = rank_interval(first, second, CONFIDENCE)
    z = float(fisher_z(own.spearman, own.n))
    errors = {
        "Fieller": np.sqrt(1.06 / (own.n - 3)),
        "Bonett–Wright": float(bonett_wright_error(own.spearman, own.n)),
        "jackknife": own.jackknife_error,
    }
    found = {name: (float(np.tanh(z - QUANTILE * error)), float(np.tanh(z + QUANTILE * error))) for name, error in errors.items()}
    found[USED] = (own.low, own.high)
    return found | (bootstrap(first, second, own, resamples, random) if resamples else {})


def bootstrap(first: Values, second: Values, own: RankInterval, resamples: int, random: np.random.Generator) -> dict[str, Limits]:
    """Computes the limits of percentile and BCa bootstrap on the z scale."""
    chosen = random.integers(0, own.n, (resamples, own.n))
    x, y = (rankdata(values[chosen], axis=1) - (own.n + 1) / 2 for values in (first, second))
    scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    z = fisher_z(np.divide((x * y).sum(1), scale, out=np.zeros(resamples), where=scale > 0), own.n)
    middle = float(fisher_z(own.spearman, own.n))
    below = np.clip((z < middle).mean() + (z == middle).mean() / 2, 1 / resamples, 1 - 1 / resamples)
    normal, bias = NormalDist(), NormalDist().inv_cdf(float(below))
    left_out = fisher_z(leave_one_out(first, second), own.n - 1)
    off = left_out.mean() - left_out
    skew = (off**3).sum() / max(6 * ((off**2).sum()) ** 1.5, 1e-12)
    shifted = [normal.cdf(bias + (bias + q) / (1 - skew * (bias + q))) for q in (-QUANTILE, QUANTILE)]
    plain = [normal.cdf(q) for q in (-QUANTILE, QUANTILE)]
    names = {"percentile bootstrap": plain, "BCa bootstrap": shifted}
    return {name: tuple(np.tanh(np.quantile(z, quantiles)).tolist()) for name, quantiles in names.items()}


def sampled(pair: Pair, n: int, samples: int, resamples: int, random: np.random.Generator) -> Result:
    """Computes the intervals of samples of n networks; samples in which all latencies of a device are equal are drawn again."""
    found: list[dict[str, Limits]] = []
    correlations: list[float] = []
    while len(found) < samples:
        chosen = random.choice(len(pair.first), n, replace=False, shuffle=False)
        first, second = pair.first[chosen], pair.second[chosen]
        if np.ptp(first) > 0 and np.ptp(second) > 0:
            found.append(intervals(first, second, resamples, random))
            correlations.append(correlation(first, second))
    return Result(pair, np.array(correlations), {name: np.array([one[name] for one in found]) for name in found[0]})


def covered(result: Result, kind: str) -> float:
    """Share of the samples whose interval contains the correlation over all networks."""
    low, high = result.limits[kind].T
    return float(np.mean((low <= result.pair.truth) & (result.pair.truth <= high)))


def in_band(results: Sequence[Result], band: tuple[float, float]) -> list[Result]:
    """Results of the pairs of devices whose correlation over all networks lies in a band."""
    return [one for one in results if band[0] <= one.pair.truth < band[1]]


def print_coverage(results: dict[int, list[Result]]) -> None:
    """Prints the coverage of each kind of interval."""
    counts = [f"{name} ({len(in_band(results[NUMBERS[0]], band))} pairs)" for name, band in BANDS.items()]
    print(f"\n| n | interval | {' | '.join(counts)} | all |\n|---|---|{'---|' * (len(BANDS) + 1)}")
    for n, found in results.items():
        for kind in found[0].limits:
            groups = [*(in_band(found, band) for band in BANDS.values()), found]
            cells = [f"{np.mean([covered(one, kind) for one in group]):.1%}" for group in groups]
            print(f"| {n} | {kind} | {' | '.join(cells)} |")


def print_details(results: dict[int, list[Result]]) -> None:
    """Prints misses, width and the lowest coverage of the interval that the package uses."""
    print(f"\n{USED}:\n\n| n | correlation | truth below | truth above | mean width | 5 % of pairs below | least | pair |")
    print(f"|---|---|{'---|' * 6}")
    for n, found in results.items():
        for name, band in BANDS.items():
            group = in_band(found, band)
            rates = [covered(one, USED) for one in group]
            limits = [(one.pair.truth, *one.limits[USED].T) for one in group]
            below = np.mean([np.mean(truth < low) for truth, low, _ in limits])
            above = np.mean([np.mean(truth > high) for truth, _, high in limits])
            width = np.mean([np.mean(high - low) for _, low, high in limits])
            worst = group[int(np.argmin(rates))].pair
            cells = [f"{below:.1%}", f"{above:.1%}", f"{width:.2f}", f"{np.quantile(rates, 0.05):.0%}", f"{min(rates):.0%}"]
            print(f"| {n} | {name} | {' | '.join(cells)} | {worst.names} ({worst.truth:.4f}) |")


def print_decisions(results: dict[int, list[Result]]) -> None:
    """Prints how often each decision is taken, and how often the sample's correlation alone would reuse a device."""
    headings = ("n", "correlation over all networks", "pairs", "reuse", "adapt", "measure more", "sample at least 0.9")
    print(f"\n| {' | '.join(headings)} |\n|---|---|{'---|' * 5}")
    groups = {"below 0.8": (-1.0, 0.8), "0.8–0.9": (0.8, THRESHOLD), "0.9–0.95": (THRESHOLD, 0.95), "above 0.95": (0.95, 1.1)}
    for n, found in results.items():
        for name, band in groups.items():
            group = in_band(found, band)
            reuse = np.mean([np.mean(one.limits[USED][:, 0] >= THRESHOLD) for one in group])
            adapt = np.mean([np.mean(one.limits[USED][:, 1] < THRESHOLD) for one in group])
            alone = np.mean([np.mean(one.correlations >= THRESHOLD) for one in group])
            rates = " | ".join(f"{rate:.1%}" for rate in (reuse, adapt, 1 - reuse - adapt, alone))
            print(f"| {n} | {name} | {len(group)} | {rates} |")


def main() -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description="Coverage of confidence intervals of Spearman's correlation on real tables.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the tables (default: ../shared/data)")
    parser.add_argument("--samples", type=int, default=25, help="samples for each pair of devices and number of networks")
    parser.add_argument("--bootstrap", type=int, default=0, metavar="N", help="resamples of bootstrap intervals; 0: none")
    options = parser.parse_args()
    missing = [name for name in TABLES if not (options.data / name).is_file()]
    if missing:
        sys.exit(f"{options.data}: {' and '.join(missing)} are not there; give the folder of the published tables with --data")
    known = list(pairs(options.data))
    results = {}
    for n in NUMBERS:
        random = np.random.default_rng(n)
        todo = track(known, description=f"{n} networks")
        results[n] = [sampled(pair, n, options.samples, options.bootstrap, random) for pair in todo]
    print(f"{len(known)} pairs of devices, {options.samples} samples each, nominal coverage {CONFIDENCE:.0%}")
    print_coverage(results)
    print_details(results)
    print_decisions(results)


if __name__ == "__main__":
    main()
