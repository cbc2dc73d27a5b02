"""Commands on special files, and on files whose names are not UTF-8: no hang, no traceback, no memory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mhmodels.export.graph.operations import random_graph
from mhmodels.export.quantisation.scheme import quantise
from mhmodels.export.writing.latency import latency_ranges
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.search.space.catalogue import get_space
from mhmodels.training.named_recipes import RECIPES
from mhmodels.weights import write_weights
from tests.robustness.driver import Ended, run_commands
from tests.robustness.readers import SMALL
from tests.weights.helpers import random_arrays

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]
DATA = Path(__file__).parents[2] / "search" / "data"
OURS = "multi_max@0.25 --input-size 32 --classes 4"

# `?` is the special file. Each line is refused with a message.
SPECIAL = """info ?.json
info ?
export ?.json -o out
export ?.keras -o out
export OURS -o out --weights ?.weights.h5
export OURS -o out --labels ?.txt
export OURS -o out --calibration ?
verify ?.tflite
verify good.tflite --against ?.tflite
verify good.tflite --against ?.json
verify good.tflite --against multi_max@0.25 --weights ?.weights.h5
verify good.tflite --images ?
verify beside.tflite
bench ?.tflite --hardware host-cpu-float32
bench ?.json --hardware host-cpu-float32
bench good.tflite --hardware host-cpu-float32 --store ?.db
bench good.tflite --matrix ?.toml
bench good.tflite --device x --delegate xnnpack --delegates-file ?.toml
bench good.tflite --device x --delegate xnnpack --benchmark-binary ?
bench good.tflite --device x --delegate xnnpack --adb ?
bench good.tflite --device x --delegate xnnpack --libraries ?
compare ?.json --hardware host-cpu-float32
compare multi_max@0.25 --store ?.db
weights import ?.weights.h5 --model multi_max@0.25 -o w.weights.h5
weights import ?.keras --model multi_max@0.25 -o w.weights.h5
weights import ?.index --model multi_max@0.25 -o w.weights.h5
weights import ? --model multi_max@0.25 -o w.weights.h5
weights import good.weights.h5 --model ?.json -o w.weights.h5
weights import good.weights.h5 --model small.json --labels ?.txt -o w.weights.h5
weights inspect ?.weights.h5
train ?.json --data digits64 -o run
train multi_max@0.25 --data digits64 --recipe ?.json -o run
train multi_max@0.25 --data ?.tfrecord --label-offset 0 -o run
train multi_max@0.25 --data ? -o run
train multi_max@0.25 --data digits64 --weights ?.weights.h5 -o run
evaluate multi_max@0.25 --weights ?.weights.h5 --data digits64
evaluate small.json --weights good.weights.h5 --data ?.tfrecord --label-offset 0
consistency multi_max@0.25 --weights ?.weights.h5
search collect host-cpu-float32 --space multi_hardware --samples ?.jsonl -o c.csv
search collect host-cpu-float32 --space multi_hardware -n 2 -o c.csv --store ?.db
search fit --space multi_hardware --hardware host-cpu-float32 --data ?.csv -o m.json
search fit --space multi_hardware --hardware host-cpu-float32 --data ?.jsonl -o m.json
search fit --space multi_hardware --hardware host-cpu-float32 --data inside.csv -o m.json
search fit --space multi_hardware --hardware host-cpu-float32 --store ?.db -o m.json
search validate --cost-model ?.json --data ?.csv
search predict --cost-model ?.json multi_max
search run --space nas_bench_201 --evaluator ?.npz --latencies ?.npz -o f.json
search run --space nas_bench_macro --evaluator ?.csv --latencies ?.csv -o f.json
search run --space nas_bench_macro --evaluator ?.jsonl --cost-model host-cpu-float32 -o f.json
search run --space multi_hardware --cost-model ?.json --data ? --preset ?.json -o f.json
search resume ?.db -o f.json
search show ?.json"""

KINDS: dict[str, Callable[[Path], None]] = {
    "device": lambda path: path.symlink_to("/dev/zero"),
    "named pipe": lambda path: os.mkfifo(path),
    "folder": Path.mkdir,
    "link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small whole files for all commands."""
    graph = random_graph(SMALL)
    for name in ("good", "beside"):
        (tmp_path / f"{name}.tflite").write_bytes(write_float(graph))
    write_weights(tmp_path / "good.weights.h5", SMALL, random_arrays(SMALL))
    (tmp_path / "small.json").write_bytes(SMALL.to_json())
    return tmp_path


def run(lines: str, folder: Path) -> dict[str, Ended]:
    commands = [line.replace("OURS", OURS) for line in lines.splitlines()]
    ended = run_commands([command.split(" ") for command in commands], folder, env={"MHMODELS_HOME": str(folder / "home")})
    return dict(zip(commands, ended, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_special_files_are_refused_wherever_a_command_takes_a_file(kind: str, folder: Path) -> None:
    for word in {word for line in SPECIAL.splitlines() for word in line.split() if word.startswith("?")}:
        KINDS[kind](folder / word.replace("?", "x"))
    KINDS[kind](folder / "beside.manifest.json")
    (folder / "inside.csv").write_text("architecture,ms\nx.json,2.5\n")
    for command, ended in run(SPECIAL.replace("?", "x"), folder).items():
        # A folder is a place for pictures, libraries, checkpoints and runs, so these commands go on to say what it lacks.
        assert ended.code in (1, 2), (command, ended)
        assert "Error: No such option" not in ended.output, (command, ended)
    assert not list(folder.rglob("*.partial*"))


# `?` is a byte that is not UTF-8.
NAMES = """info ?.json
verify ?.tflite
verify ?8.tflite --against ?.json --json
verify ?.tflite --images ?pictures
bench ?.tflite --hardware host-cpu-float32 --store ?.db --runs 2
bench ?.tflite --hardware host-cpu-float32 --store ?.db --runs 2 --json
bench ?.json --hardware host-cpu-float32 --store ?.db --runs 2
bench ?8.tflite --hardware ethos-u55-128
compare ?.json --hardware host-cpu-float32 --store ?.db --reference ?.json
weights import good.weights.h5 --model ?.json -o ?.weights.h5
weights inspect ?.weights.h5
export ?.json --format float32 --format int8 -o ?out --weights ?.weights.h5 --labels ?.txt --calibration ?pictures
export ?.json --format float32 -o ?out --weights ?.weights.h5 --overwrite --json
train ?.json --data ?data --recipe ?recipe.json -o ?run
train ?.json --data ?data --recipe ?recipe.json -o ?run --resume --json
evaluate ?.json --weights ?.weights.h5 --data ?data --json
consistency ?.json --weights ?.weights.h5 --images ?pictures --format float32 --json
search sample --space nas_bench_macro -n 3 -o ?.jsonl
search fit --space nas_bench_macro --hardware host-cpu-float32 --data ?.csv -o ?model.json
search fit --space nas_bench_macro --hardware host-cpu-float32 --data ?.csv -o model.json
search predict --cost-model ?model.json --samples ?.jsonl
search run --space nas_bench_macro --evaluator accuracies.jsonl --cost-model model.json --reference host-cpu-float32=2.5 \
--method random --evaluations 20 --log ?log.db -o ?found.json --front ?front.json
search run --space nas_bench_macro --evaluator ?accuracies.jsonl --cost-model ?model.json -o ?found.json
search resume ?log.db -o ?again.json
search show ?found.json
search show ?.json --png ?.png"""


def test_names_that_are_not_utf8_are_names_like_others(folder: Path) -> None:
    byte = os.fsdecode(b"\xff")
    shutil.copy(folder / "good.tflite", folder / f"{byte}.tflite")
    graph = random_graph(SMALL)
    (folder / f"{byte}8.tflite").write_bytes(write_quantised(quantise(graph, latency_ranges(graph), "int8")))
    (folder / f"{byte}.json").write_bytes(SMALL.to_json())
    (folder / f"{byte}.txt").write_text("a\nb\nc\nd\n")
    for place in (f"{byte}pictures", *(f"{byte}data/{part}/{name}" for part in ("train", "val") for name in "abcd")):
        (folder / place).mkdir(parents=True)
        for number in range(4):
            noise = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(noise).save(folder / place / f"{byte}{number}.png")
    recipe = json.loads(RECIPES["short"].to_json()) | {"epochs": 1, "batch_size": 4}
    (folder / f"{byte}recipe.json").write_text(json.dumps(recipe))
    shutil.copy(DATA / "nas_bench_macro.csv", folder / f"{byte}.csv")
    rows = [{"encoding": row.tolist(), "accuracy": 0.5 + number / 100}
            for number, (row, _) in enumerate(zip(get_space("nas_bench_macro"), range(30), strict=False))]  # fmt: skip
    (folder / "accuracies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for command, ended in run(NAMES.replace("?", byte), folder).items():
        assert "Traceback" not in ended.output
        # The file of random numbers does not agree with another network of random numbers, which is what is said then.
        assert ended.code == 0 or (ended.code == 1 and ("--against" in command or "not UTF-8" in ended.output)), (command, ended)
        assert not any(0xD800 <= ord(character) < 0xE000 for character in ended.output), command
