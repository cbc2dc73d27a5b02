"""Judges what a search by weight sharing found: trained alone, beside random networks of the same latency and Multi-MAX.

    python examples/search_digits.py found.json --cost-model cpu.json --cost-model npu.json -o comparison.json

FILE.json is what `mhmodels search run --data digits64 --preset quick` wrote. Ten networks are drawn whose f lies within 5 % of
its f; they, the network itself and Multi-MAX (at the width where its f is nearest) are trained from nothing at width 0.25 and
64x64, all alike, and judged on the test digits. The place of the network among the ten is printed as a percentile. Trained
networks are kept: a second start goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.quiet import load_tensorflow
from mhmodels.registry import resolve
from mhmodels.training.files import write_atomically
from mhmodels.training.recipes import RECIPES
from mhmodels.training.sources import open_data
from search.cost_model.model import CostModel, load_cost_model
from search.rewards import Objective, Reward
from search.spaces import get_space
from search.template import ArchitectureSpace

WIDTH, SIDE, NEAR = 0.25, 64, 0.05
WIDTHS = tuple(round(0.5 + 0.05 * step, 2) for step in range(31))


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("found", type=Path)
    parser.add_argument("--cost-model", type=Path, action="append", required=True, dest="cost_models")
    parser.add_argument("--data", default="digits64")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("search_digits"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    load_tensorflow()
    models = [load_cost_model(path) for path in given.cost_models]
    found = resolve(str(given.found))
    provenance = json.loads(given.found.read_bytes())["provenance"]
    space = get_space(provenance["space"])
    assert isinstance(space, ArchitectureSpace)
    objective = Objective.of_cost_models(space, models, msgspec.convert(provenance["reward"], Reward))
    encoding = np.array(provenance["encoding"], np.int16)
    own = float(objective.f(encoding[None])[0])
    rivals = like(objective, own, encoding, given.networks, given.seed)
    rows = [judged("found", found, own, 1.0, given)]
    for number, row in enumerate(rivals):
        rows.append(judged(f"random{number}", space.build(row), float(objective.f(row[None])[0]), 1.0, given))
    width, f = nearest(models, objective.reward, own)
    rows.append(judged("multi_max", resolve("multi_max"), f, width, given))
    below = np.mean([row["accuracy"] <= rows[0]["accuracy"] for row in rows[1 : 1 + len(rivals)]])
    document = {"percentile": float(100 * below), "spread": spread(rows[1 : 1 + len(rivals)]), "rows": rows}
    write_atomically(given.output, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    for row in rows:
        print(f"{row['name']:>10}  f {row['f']:.3f}  test accuracy {row['accuracy']:.2%}")
    print(f"found is at the {100 * below:.0f}th percentile of the random networks")


def like(objective: Objective, f: float, own: Any, count: int, seed: int) -> Any:
    """Different random networks whose norm is within 5 % of `f`."""
    rng = np.random.default_rng(seed)
    kept: dict[bytes, Any] = {}
    for _ in range(1000):
        rows = np.concatenate([objective.space.draw(500, rng), objective.space.draw(500, rng, depth="uniform")])
        near = rows[np.abs(objective.f(rows) / f - 1) <= NEAR]
        kept |= {row.tobytes(): row for row in near if not np.array_equal(row, own)}
        if len(kept) >= count:
            break
    return list(kept.values())[:count]


def nearest(models: list[CostModel], reward: Reward, f: float) -> tuple[float, float]:
    """The width of Multi-MAX whose norm is nearest to `f`, and that norm."""
    norms = {}
    for width in WIDTHS:
        scaled = resolve("multi_max").at(width_multiplier=width)
        by_hardware = {model.hardware: float(model.predict([scaled])[0]) for model in models}
        norms[width] = float(reward.f(np.array([[by_hardware[name] for name in reward.hardware]]))[0])
    best = min(norms, key=lambda width: abs(norms[width] - f))
    return best, norms[best]


def judged(name: str, architecture: Architecture, f: float, width: float, given: Any) -> dict[str, Any]:
    """Trains a network alone and gives its test accuracy."""
    from mhmodels.training.session import Request, train_network

    recipe = msgspec.structs.replace(RECIPES["digits"], epochs=given.epochs, evaluate_every=given.epochs)
    folder = given.runs / f"{name}-{architecture.architecture_id}"
    network = architecture.at(width_multiplier=WIDTH * width, input_size=SIDE, classes=10)
    if not (folder / "metrics.json").is_file():
        train_network(Request(network, open_data(given.data), recipe, folder, seed=given.seed, resume=True))
    metrics = json.loads((folder / "metrics.json").read_bytes())
    return {"name": name, "architecture_id": architecture.architecture_id, "f": f, "accuracy": metrics["test_accuracy"]}


def spread(rows: list[dict[str, Any]]) -> float:
    """Between the best and the worst, in accuracy points."""
    return 100 * (max(row["accuracy"] for row in rows) - min(row["accuracy"] for row in rows))


if __name__ == "__main__":
    main()
