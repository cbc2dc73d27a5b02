"""Compares the network found by a search with weight sharing with random networks of the same latency and with Multi-MAX.

    python examples/search_digits.py found.json -o comparison.json

`found.json` is the result of `mhmodels search run --data digits64 --preset quick -o found.json`; the log of the search is beside
it (`found.db`, or --log). The program samples twenty different networks whose f is within 5 % of that of the found network. It
trains them, the found network and Multi-MAX (at the width with the nearest f) from random weights with the same recipe, at the
width and input size of the search, and evaluates them on the test pictures. It reports

* the percentile of the found network among the first ten random networks;
* the range of these ten accuracies;
* Kendall's tau over all twenty between accuracy with the shared weights of the search and accuracy alone.

The name of a training folder is a hash of network, recipe, data, seed and version. Therefore a second start continues the first
one, comparisons of several searches share trainings of the same network, and results of another seed or recipe are never reused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from scipy.stats import kendalltau, percentileofscore

import mhmodels
from mhmodels.architecture import Architecture
from mhmodels.registry import resolve
from mhmodels.search.errors import SearchError
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.request import load_request
from mhmodels.search.run.weight_sharing import load_weight_sharing
from mhmodels.search.supernet.request import WeightSharingRequest, classes_of, settings, side_of
from mhmodels.system.files import write_atomically
from mhmodels.system.quiet import load_tensorflow
from mhmodels.training.data.sources import Data, open_data
from mhmodels.training.named_recipes import RECIPES
from mhmodels.training.recipes import Recipe

NEAR = 0.05
WIDTHS = tuple(round(0.3 + 0.01 * step, 2) for step in range(171))


class Entrant(NamedTuple):
    """A network to be trained alone.

    Attributes:
        name: Name in the table.
        architecture: Network at full width and input size, as the cost models predict it.
        width: Factor on the width multiplier of the search; 1 except for Multi-MAX.
        f: Aggregated relative latency by the cost models of the search.
        shared: Accuracy with shared weights on the validation pictures of the search; None for Multi-MAX.
    """

    name: str
    architecture: Architecture
    width: float
    f: float
    shared: float | None


class Training(NamedTuple):
    """Settings of all trainings."""

    data: Data
    recipe: Recipe
    seed: int
    width: float
    side: int
    classes: int
    runs: Path


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the comparison and returns the written document."""
    given = parser().parse_args(arguments)
    load_tensorflow()
    log = given.log or given.found.with_suffix(".db")
    search = load_weight_sharing(log)
    provenance = json.loads(given.found.read_bytes()).get("provenance", {})
    check_origin(given.found, log, search, provenance)
    entrants = field(search, provenance, max(given.networks, given.ranked), given.seed)
    training = plan(search, pictures_of(log), given)
    rows: list[dict[str, Any]] = []
    for entrant in entrants:
        accuracy = alone(entrant, training)
        rows.append({**entrant._asdict(), "architecture": entrant.architecture.architecture_id, "accuracy": accuracy})
        print(f"{entrant.name:>10}  f {entrant.f:.3f}  test accuracy {accuracy:.2%}", flush=True)
    document = {"search": settings(search), "seed": given.seed, "epochs": given.epochs, **verdict(rows, given.networks)}
    write_atomically(given.output, msgspec.json.format(msgspec.json.encode(document | {"rows": rows}), indent=2) + b"\n")
    print(
        f"found is at the {document['percentile']:.0f}th percentile of {given.networks} random networks, which differ by "
        f"{document['spread']:.1f} points; Kendall's tau of shared and own accuracy over {document['ranked']} networks is "
        f"{document['tau']:.2f} (p {document['tau_p']:.2g})"
    )
    return document | {"rows": rows}


def pictures_of(log: Path) -> str:
    """What the search in a log trained on."""
    sharing = load_request(log).weight_sharing
    assert sharing is not None
    return sharing.data


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("found", type=Path, help="Result of the search.")
    made.add_argument("--log", type=Path, default=None, help="Log of the search.  [default: the found network's name with .db]")
    made.add_argument("--epochs", type=int, default=10, help="Epochs of every training.")
    made.add_argument("--networks", type=int, default=10, help="Random networks for the percentile.")
    made.add_argument("--ranked", type=int, default=20, help="Random networks for Kendall's tau, including those of --networks.")
    made.add_argument("--seed", type=int, default=0, help="Random seed for sampling and for every training.")
    made.add_argument("--runs", type=Path, default=Path("search_digits"), help="Folder of the trainings.")
    made.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write.")
    return made


def check_origin(found: Path, log: Path, search: WeightSharingRequest, provenance: dict[str, Any]) -> None:
    """Checks that the network was found by the search in the log.

    Raises:
        SearchError: The provenance differs; the message names the fields.
    """
    own = msgspec.json.decode(msgspec.json.encode(settings(search)))
    del own["replicas"]  # a search may have several replicas, this program has one
    differing = [name for name, value in own.items() if provenance.get(name) != value]
    if differing:
        raise SearchError(
            f"{found}: was not found by the search in {log}: {', '.join(differing)} differ; give its own with --log"
        )


def field(search: WeightSharingRequest, provenance: dict[str, Any], count: int, seed: int) -> list[Entrant]:
    """Returns the found network, random networks with the same f, and Multi-MAX."""
    objective, space = search.objective, search.space
    own = np.array(provenance["encoding"], np.int16)
    f = float(objective.f(own[None])[0])
    rivals = like(objective, f, own, count, seed)
    # The found network is evaluated in the encoding sampled by the policy, the random networks in their canonical encoding.
    judged = np.array([provenance["judged_encoding"], *rivals], np.int16)
    from mhmodels.search.supernet.judging import shared_accuracies

    shared = shared_accuracies(search, judged).tolist()
    norms = objective.f(judged).tolist()
    names = ["found", *(f"random{number}" for number in range(count))]
    entrants = [
        Entrant(name, space.build(row), 1.0, norm, accuracy)
        for name, row, norm, accuracy in zip(names, judged, norms, shared, strict=True)
    ]
    width, scaled = nearest(objective, side_of(space), f)
    return [*entrants, Entrant("multi_max", resolve("multi_max"), width, scaled, None)]


def like(objective: Objective, f: float, own: Any, count: int, seed: int) -> Any:
    """Samples different random networks whose f is within 5 % of `f`.

    Raises:
        SearchError: A million samples contain fewer than `count`.
    """
    rng = np.random.default_rng(seed)
    kept: dict[bytes, Any] = {}
    for _ in range(1000):
        rows = np.concatenate([objective.space.draw(500, rng), objective.space.draw(500, rng, depth="uniform")])
        near = rows[np.abs(objective.f(rows) / f - 1) <= NEAR]
        kept |= {row.tobytes(): row for row in near if not np.array_equal(row, own)}
        if len(kept) >= count:
            return list(kept.values())[:count]
    raise SearchError(f"{len(kept)} networks within 5 % of f = {f:.3f} in a million draws, expected {count}")


def nearest(objective: Objective, side: int, f: float) -> tuple[float, float]:
    """Returns the width of Multi-MAX whose f is nearest to `f`, and its f."""
    norms = {}
    for width in WIDTHS:
        scaled = resolve("multi_max").at(width_multiplier=width, input_size=side)
        ms = [float(source.model.predict([scaled])[0]) for source in objective.sources.values()]  # type: ignore[attr-defined]
        norms[width] = float(objective.reward.f(np.array([ms]))[0])
    best = min(norms, key=lambda width: abs(norms[width] - f))
    return best, norms[best]


def plan(search: WeightSharingRequest, data: str, given: argparse.Namespace) -> Training:
    """Returns the training settings, at the width and input size of the search."""
    opened = open_data(data)
    preset = search.preset
    recipe = msgspec.structs.replace(RECIPES["digits"], epochs=given.epochs, evaluate_every=given.epochs)
    side = preset.input_size or side_of(search.space)
    return Training(opened, recipe, given.seed, preset.width_multiplier, side, classes_of(search), given.runs)


def alone(entrant: Entrant, training: Training) -> float:
    """Trains a network alone, unless its run is finished, and returns its test accuracy."""
    from mhmodels.training.session import TrainingRequest, train_network

    width = training.width * entrant.width
    network = entrant.architecture.at(width_multiplier=width, input_size=training.side, classes=training.classes)
    folder = training.runs / key(network, training)
    if not (folder / "metrics.json").is_file():
        train_network(TrainingRequest(network, training.data, training.recipe, folder, seed=training.seed, resume=True))
    accuracy: float = json.loads((folder / "metrics.json").read_bytes())["test_accuracy"]
    return accuracy


def key(network: Architecture, training: Training) -> str:
    """Returns a hash of everything that determines the result of a training."""
    sources = [source and f"{source.name}: {source.fingerprint()}" for source in training.data]
    content = [network.architecture_id, training.recipe, sources, training.seed, mhmodels.__version__]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:16]


def verdict(rows: list[dict[str, Any]], networks: int) -> dict[str, Any]:
    """Computes percentile, range and rank correlation from rows in the order of `field`."""
    own, random = rows[0], [row for row in rows if row["name"].startswith("random")]
    rivals = [row["accuracy"] for row in random[:networks]]
    tau = kendalltau([row["shared"] for row in random], [row["accuracy"] for row in random])
    return {
        "percentile": float(percentileofscore(rivals, own["accuracy"], kind="mean")),
        "spread": 100 * (max(rivals) - min(rivals)),
        "multi_max_points": 100 * (own["accuracy"] - rows[-1]["accuracy"]),
        "multi_max_f_off": rows[-1]["f"] / own["f"] - 1,
        "tau": float(tau.statistic),
        "tau_p": float(tau.pvalue),
        "ranked": len(random),
    }


if __name__ == "__main__":
    main()
