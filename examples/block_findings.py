"""Which blocks suit which hardware: the tables and pictures of docs/block-profiles.md.

    python examples/block_findings.py                                  # tables, about ten minutes
    python examples/block_findings.py --only layers --halves 4
    python examples/block_findings.py --only pictures --pictures docs/images

`layers` needs only what the package has. It divides latency among layers by the cost models of `multi_hardware`. Intervals come
from cost models that are fitted to random halves of the collected networks: estimates from halves scatter about the estimate
from all networks as the latter does about the truth. `kernels` profiles `mobilenet_v2_space`, which has 7x7 kernels.

`fbnet`, `gpu` and `accuracy` read ../shared/data (fbnet_latency.npz, ofa_mbv3_latency_gpu.npz, nas_bench_macro_cifar10.csv),
which is not part of a clone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import t

from mhmodels.search import (
    BlockProfile,
    CostModel,
    Effect,
    FitOptions,
    Latencies,
    cost_model_shares,
    fit,
    get_space,
    profile,
    shipped_hardware,
    shipped_model,
)
from mhmodels.search.cost_model.latencies.reading import read_all_hardware
from mhmodels.search.cost_model.predictor import LinearPredictor
from mhmodels.search.cost_model.shipping import shipped_tables
from mhmodels.search.objective.benchmark_tables import nas_bench_macro_table
from mhmodels.search.profiling.heat_map import effect_map
from mhmodels.search.profiling.layout import layout_of
from mhmodels.search.profiling.ranking_plot import ranking_plot
from mhmodels.search.profiling.reference import ReferenceNetworks
from mhmodels.search.profiling.selection import unselected
from mhmodels.search.profiling.share_plot import share_plot
from mhmodels.search.profiling.words import short
from mhmodels.search.space.piece_table import madds_of
from mhmodels.search.space.template import ArchitectureSpace

DATA = Path(__file__).parents[2] / "shared" / "data"
SPACE = "multi_hardware"
EXPANSIONS, UNITS, LAYERS = range(1, 7), range(1, 6), (2, 3, 4)
CONFIDENCE = 0.9
WIDTHS, PROFILED = 1000, 4000

Floats = NDArray[np.float64]
Costs = Mapping[tuple[int, int, str], float]
"""Cost of a block by unit, layer and its short name, over networks with random widths."""


def space_of(name: str) -> ArchitectureSpace:
    """A space with architectures."""
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    return space


def collected(space: ArchitectureSpace) -> dict[str, Latencies]:
    """Latencies that come with the package, by hardware."""
    found: dict[str, Latencies] = {}
    for path in shipped_tables(space):
        found.update(read_all_hardware(path, space, ()))
    return found


def reference(space: ArchitectureSpace, n: int) -> NDArray[np.int16]:
    """Networks of the distribution that effects are relative to."""
    networks = ReferenceNetworks(space, layout_of(space), [each.tolist() for each in space.allowed])
    return networks.draw(n, np.random.default_rng(0))


def layer_costs(space: ArchitectureSpace, table: Floats) -> Costs:
    """Mean cost of each block at each layer, from the cost of every row of the space's table."""
    rows = reference(space, WIDTHS)
    slots = [slot.name for group in space.template.groups for slot in group.slots]
    found = {}
    for layer in layout_of(space).layers:
        place = slots.index(space.decisions[layer.column].name)
        for choice, block in enumerate(layer.blocks):
            rows[:, layer.column] = choice
            found[layer.unit, layer.layer, short(block)] = float(table[space.rows(rows)[:, place]].mean())
    return found


def ms_of(model: CostModel, space: ArchitectureSpace) -> Costs:
    """Mean ms of each block at each layer by a cost model."""
    predictor = model.bind(space)
    assert isinstance(predictor, LinearPredictor)
    return layer_costs(space, predictor.table)


def mean_of(costs: Costs, kind: str, kernels: Sequence[int], expansions: Sequence[int], units: Sequence[int] = UNITS) -> float:
    """Mean cost of blocks over layers that are not the first of their unit."""
    return float(
        np.mean([costs[u, la, f"{kind} k{k} e{e}"] for u in units for la in LAYERS for k in kernels for e in expansions])
    )


def ratios(costs: Costs, madds: Costs) -> dict[str, float]:
    """The ratios of the table `layers`."""
    every, kernels = list(EXPANSIONS), (3, 5)

    def per_madd(kind: str, unit: int) -> float:
        return mean_of(costs, kind, kernels, every, [unit]) / mean_of(madds, kind, kernels, every, [unit])

    return {
        "fused / ib, k3": mean_of(costs, "fused", [3], every) / mean_of(costs, "ib", [3], every),
        "fused / ib, k5": mean_of(costs, "fused", [5], every) / mean_of(costs, "ib", [5], every),
        "fused k3 e1 / ib k3 e5": mean_of(costs, "fused", [3], [1]) / mean_of(costs, "ib", [3], [5]),
        "ib k5 / k3": mean_of(costs, "ib", [5], every) / mean_of(costs, "ib", [3], every),
        "fused k5 / k3": mean_of(costs, "fused", [5], every) / mean_of(costs, "fused", [3], every),
        "ib e6 / e1, unit 1": mean_of(costs, "ib", kernels, [6], [1]) / mean_of(costs, "ib", kernels, [1], [1]),
        "ib e6 / e1, unit 5": mean_of(costs, "ib", kernels, [6], [5]) / mean_of(costs, "ib", kernels, [1], [5]),
        **{f"ib per MAdd, unit {unit} / 4": per_madd("ib", unit) / per_madd("ib", 4) for unit in (1, 2, 3, 5)},
        "per MAdd, fused / ib": np.mean([per_madd("fused", u) / per_madd("ib", u) for u in UNITS]),
    }


def halves(space: ArchitectureSpace, data: Latencies, count: int) -> Iterator[CostModel]:
    """Cost models of random halves of the networks."""
    n = len(data.ms)
    options = FitOptions(curve=False, held_out=0.02 if n > 500 else 0.1)
    for seed in range(count):
        chosen = np.random.default_rng(seed).permutation(n)[: n // 2]
        yield fit(space, data.encodings[chosen], data.ms[chosen], data.origin, options).model


def table(title: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a Markdown table."""
    print(f"\n{title}\n\n| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def layers(arguments: argparse.Namespace) -> None:
    """Ratios of layer costs on all hardware of the space."""
    space = space_of(SPACE)
    madds = layer_costs(space, space.table(madds_of, 1)[:, 0])
    columns = {"MAdds": {name: f"{value:.2f}" for name, value in ratios(madds, madds).items()}}
    factor = float(t.ppf((1 + CONFIDENCE) / 2, max(arguments.halves - 1, 1)))
    data, known = collected(space), {}
    for name in track(list(shipped_hardware(space)), "fitting halves"):
        model = shipped_model(space, name)
        found = ratios(ms_of(model, space), madds)
        spread = [ratios(ms_of(one, space), madds) for one in halves(space, data[name], arguments.halves)]
        columns[name] = {
            key: f"{value:.2f} ± {factor * np.std([one[key] for one in spread], ddof=1):.2f}" for key, value in found.items()
        }
        known[name] = {one.model: one.ms for one in model.baselines}
    keys = list(next(iter(columns.values())))
    rows = [[key, *(column[key] for column in columns.values())] for key in keys]
    v1 = [known.get(name, {}) for name in columns]
    rows.append(["MobileNetV1 / V2", *(f"{one['mobilenet_v1'] / one['mobilenet_v2']:.2f}" if len(one) > 1 else "" for one in v1)])
    table(f"Layers of {SPACE}: ratios of cost, 90 % intervals", ["ratio", *columns], rows)


def percent(effect: Effect, level: float) -> str:
    """An effect in % of the mean network, with half its interval."""
    assert effect.mean is not None
    assert effect.low is not None
    assert effect.high is not None
    return f"{100 * effect.mean / level:+.1f} ± {50 * (effect.high - effect.low) / level:.1f}"


def difference(profile_: BlockProfile, one: str, other: str) -> str:
    """Difference of two blocks in % of the mean network; intervals are combined as of independent estimates."""
    found = {short(block.block): block for block in profile_.blocks}
    a, b = found[one], found[other]
    assert None not in (a.mean, a.low, a.high, b.mean, b.low, b.high)
    half = np.hypot(a.high - a.low, b.high - b.low) / 2  # type: ignore[operator]
    return f"{100 * (a.mean - b.mean) / profile_.level:+.1f} ± {100 * half / profile_.level:.1f}"  # type: ignore[operator]


def kernels(_: argparse.Namespace) -> None:
    """Blocks of `mobilenet_v2_space`, which has kernel size 7, from 200 networks on each hardware."""
    space = space_of("mobilenet_v2_space")
    found = {name: profile(space, one.encodings, one.ms) for name, one in collected(space).items()}
    blocks = [short(block.block) for block in sorted(next(iter(found.values())).blocks, key=lambda one: one.block)]
    rows = []
    for block in blocks:
        means = [next(b for b in one.blocks if short(b.block) == block) for one in found.values()]
        rows.append([block, *(percent(b, one.level) for b, one in zip(means, found.values(), strict=True))])
    for one, other in (("ib k5 e6", "ib k3 e6"), ("ib k7 e6", "ib k5 e6"), ("ib k3 e6", "ib k3 e3")):
        rows.append([f"{one} - {other}", *(difference(each, one, other) for each in found.values())])
    table("Blocks of mobilenet_v2_space, % of the mean network, 90 % intervals", ["block", *found], rows)


def fbnet(_: argparse.Namespace) -> None:
    """Differences between blocks of FBNet on published devices, from 1,000 networks each."""
    data, space = np.load(DATA / "fbnet_latency.npz"), get_space("fbnet")
    chosen = np.random.default_rng(0).permutation(len(data["arch"]))[:1000]
    pairs = {
        "k3: e6 - e1": ("ib k3 e6", "ib k3 e1"),
        "e6: k5 - k3": ("ib k5 e6", "ib k3 e6"),
        "k3 e1: g2 - g1": ("ib k3 e1 g2", "ib k3 e1"),
        "skip - k3 e1": ("skip", "ib k3 e1"),
    }
    rows = []
    for column, name in enumerate(track(list(map(str, data["devices"])), "profiling fbnet")):
        found = profile(space, data["arch"][chosen].astype(np.int16), data["latency_ms"][chosen, column].astype(float))
        rows.append(
            [name, f"{100 * (found.error or 0) / found.level:.1f}", *(difference(found, *pair) for pair in pairs.values())]
        )
    table("Blocks of fbnet, % of the mean network, 90 % intervals", ["device", "error %", *pairs], rows)


def ofa_networks(data: Mapping[str, NDArray[np.int64]], space: ArchitectureSpace) -> NDArray[np.int16]:
    """Encodings of the networks of a published table."""
    layout = layout_of(space)
    rows = np.zeros((len(data["r"]), len(space.decisions)), np.int16)
    (side,) = layout.others
    sides = [int(choice) for choice in space.decisions[side].choices]
    rows[:, side] = [sides.index(int(each)) for each in data["r"].ravel()]
    for place, layer in enumerate(layout.layers):
        names = [short(block) for block in layer.blocks]
        present = layer.layer <= data["d"][:, layer.unit - 1]
        blocks = [names.index(f"ib k{k} e{e}") for k, e in zip(data["ks"][:, place], data["e"][:, place], strict=True)]
        rows[:, layer.column] = np.where(present, blocks, layer.skip if layer.skip is not None else 0)
    return space.check(rows)


def gpu(_: argparse.Namespace) -> None:
    """Blocks and depth of Once-for-All's MobileNetV3 on published GPUs, from 5,000 networks each."""
    data, space = np.load(DATA / "ofa_mbv3_latency_gpu.npz"), space_of("ofa_mobilenet_v3")
    encodings, rows = ofa_networks(data, space), []
    for column, name in enumerate(track(list(map(str, data["devices"])), "profiling GPUs")):
        found = profile(space, encodings, data["latency_ms"][:, column].astype(float))
        level, deep = found.level, [one for one in found.depth if one.layer == 4]
        depth = [100 * (one.mean or 0) / level for one in deep]
        clear = sum(one.is_clear for one in deep)
        sides = [100 * (one.mean or 0) / level for one in found.decisions]
        rows.append(
            [
                name, f"{level:.1f}", f"{100 * (found.error or 0) / level:.1f}",
                difference(found, "ib k7 e6", "ib k3 e6"), difference(found, "ib k3 e6", "ib k3 e3"),
                f"{min(depth):+.1f} to {max(depth):+.1f} ({clear} of {len(deep)} clear)", f"{max(sides) - min(sides):.1f}",
            ]
        )  # fmt: skip
    heading = ["device and batch", "mean ms", "error %", "e6: k7 - k3", "k3: e6 - e3", "4th layer, by unit", "128 to 224 px"]
    table("Blocks of ofa_mobilenet_v3 on GPUs, % of the mean network, 90 % intervals", heading, rows)


def accuracy(_: argparse.Namespace) -> None:
    """Accuracies and latencies of NAS-Bench-Macro by layer."""
    space = get_space("nas_bench_macro")
    encodings = np.array(list(product(range(3), repeat=8)), np.int16)
    values = 100 * nas_bench_macro_table(DATA / "nas_bench_macro_cifar10.csv")[0].evaluate(encodings, "accuracy")
    found = profile(space, encodings, values)
    latencies = {name: profile(space, one.encodings, one.ms) for name, one in collected(space_of("nas_bench_macro")).items()}
    rows = []
    for number, start in enumerate(range(0, len(found.effects), 3), 1):
        three = found.effects[start : start + 3]
        costs = [
            f"{100 * ((one.effects[start + 2].mean or 0) - (one.effects[start].mean or 0)) / one.level:.1f}"
            for one in latencies.values()
        ]
        rows.append([str(number), *(percent(one, 100) for one in three), *costs])
    heading = ["layer", "none", "k3 e3", "k5 e6", *(f"k5 e6 - none, {name}" for name in latencies)]
    table("nas_bench_macro: accuracy in points; latency in % of the mean network", heading, rows)


def profiles_of(space: ArchitectureSpace, names: Sequence[str]) -> dict[str, BlockProfile]:
    """Profiles of what the cost models of the package predict."""
    rows = reference(space, PROFILED)
    return {
        name: profile(space, rows, shipped_model(space, name).bind(space).predict(rows), robust=False)
        for name in track(names, "profiling cost models")
    }


def agreement(_: argparse.Namespace) -> None:
    """Compares effects from the measured networks with those of the cost models' predictions."""
    space, rows = space_of(SPACE), []
    data = collected(space)
    names = [name for name in shipped_hardware(space) if len(data[name].ms) > 300]
    for name, one in profiles_of(space, names).items():
        row = [name, percent(strongest(one), one.level)]
        free = unselected(data[name].distributions)
        for kept in (free, ~free, np.ones(len(free), bool)):
            measured = profile(space, data[name].encodings[kept], data[name].ms[kept])
            known = [(a.mean, b.mean, b.low, b.high) for a, b in zip(one.effects, measured.effects, strict=True) if b.n]
            truth, mean, low, high = np.array(known, float).T
            covered = np.mean((low <= truth) & (truth <= high))
            row += [f"{np.corrcoef(truth, mean)[0, 1]:.2f}, {covered:.2f}", percent(strongest(measured), measured.level)]
        rows.append(row)
    heading = ["hardware", "fused k5 e6: cost model"]
    for sample in ("depth-uniform", "window", "both"):
        heading += [f"{sample}: correlation, coverage", "fused k5 e6"]
    table("Effects of measured networks, by distribution, against those of the cost models", heading, rows)


def strongest(profile_: BlockProfile) -> Effect:
    """The mean effect of the largest block."""
    return next(block for block in profile_.blocks if short(block.block) == "fused k5 e6")


def pictures(arguments: argparse.Namespace) -> None:
    """Draws the pictures of docs/block-profiles.md."""
    space, folder = space_of(SPACE), arguments.pictures
    found = profiles_of(space, shipped_hardware(space))
    ranking_plot(found, folder / "profile-blocks.png")
    effect_map({name: found[name] for name in ("host-cpu-int8", "hexagon-sa8255")}, folder / "profile-map.png")
    shares = {name: cost_model_shares(space, shipped_model(space, name)) for name in found}
    share_plot(
        shares, folder / "profile-share.png", f"Where the latency of the mean network of {SPACE} is spent\nas the cost models "
        "divide it among the layers",
    )  # fmt: skip


PARTS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "layers": layers, "kernels": kernels, "fbnet": fbnet, "gpu": gpu, "accuracy": accuracy, "agreement": agreement,
    "pictures": pictures,
}  # fmt: skip


def main() -> None:
    """Prints the tables and draws the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="Parts to compute. Default: all.")
    parser.add_argument("--halves", type=int, default=10, help="Number of halves that cost models are fitted to. Default: 10.")
    parser.add_argument("--pictures", type=Path, default=Path(), help="Folder of the pictures. Default: the current folder.")
    arguments = parser.parse_args()
    for name in arguments.only:
        PARTS[name](arguments)


if __name__ == "__main__":
    main()
