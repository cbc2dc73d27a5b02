"""Commands that are killed at random moments: whole files or none, nothing left behind after the next run, the same result."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mhmodels.search.run.log import SearchLog
from mhmodels.search.space.catalogue import get_space
from mhmodels.store import Store
from mhmodels.tflite.file import read_tflite
from mhmodels.training.named_recipes import RECIPES
from mhmodels.weights import read_info, read_weights, write_weights
from tests.robustness.readers import SMALL
from tests.weights.helpers import random_arrays

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]
DATA = Path(__file__).parents[2] / "search" / "data"
KILLS = 4
MARK = "MHMODELS_KILL_TEST"

_SERVER = multiprocessing.get_context("forkserver")
# Forks of a server that has imported everything: a command begins at once, and most kills fall into its work.
_SERVER.set_forkserver_preload([
    "tensorflow", "keras", "mhmodels.cli.main", "mhmodels.export.cli.export", "mhmodels.export.pipeline",
    "mhmodels.search.cli.group", "mhmodels.search.cli.run",
    "mhmodels.cli.train", "mhmodels.training.session", "sklearn.linear_model", "mhmodels.search.cost_model.fitting",
    "mhmodels.search.cli.collect", "mhmodels.search.cli.collect_display", "mhmodels.search.cli.fit",
])  # fmt: skip


def _command(words: list[str], folder: str) -> None:
    os.environ.update(MHMODELS_HOME=f"{folder}/home", TMPDIR=f"{folder}/tmp", **{MARK: folder})
    os.chdir(folder)
    output = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["mhmodels", *words]
    from mhmodels.cli.main import main

    main()


def start(words: str, folder: Path) -> multiprocessing.process.BaseProcess:
    process = _SERVER.Process(target=_command, args=(words.split(), str(folder)))
    process.start()
    return process


def finish(words: str, folder: Path) -> float:
    """Runs a command to its end; returns its seconds."""
    begun = time.monotonic()
    process = start(words, folder)
    process.join(300)
    assert process.exitcode == 0, (folder / "log.txt").read_text()[-3000:]
    return time.monotonic() - begun


def _check_exported(folder: Path) -> None:
    for path in folder.glob("out/*.tflite"):
        read_tflite(path)
        manifest = json.loads(path.with_name(f"{path.stem}.manifest.json").read_bytes())
        assert manifest["file_bytes"] == path.stat().st_size


def _exported(folder: Path) -> object:
    return {path.name: path.read_bytes() for path in folder.glob("out/*.tflite")}


def _check_store(folder: Path) -> None:
    if (folder / "s.db").exists():
        with Store(folder / "s.db") as store:
            assert all(row.median_ms for row in store)
    if (folder / "c.csv").exists():
        assert (folder / "c.csv").read_bytes().endswith(b"\n")


def _collected(folder: Path) -> object:
    lines = (folder / "c.csv").read_text().splitlines()
    with Store(folder / "s.db") as store:
        ids = [row.architecture_id for row in store if row.model != "reference"]
    return sorted(line.split(",")[0] for line in lines), len(set(ids))


def _check_weights(folder: Path) -> None:
    for path in (folder / "w.weights.h5", folder / "run" / "model.weights.h5"):
        if path.exists():
            read_weights(path)


def _imported(folder: Path) -> object:
    info = read_info(folder / "w.weights.h5")
    assert info is not None
    return info.sha256


def _trained(folder: Path) -> object:
    info = read_info(folder / "run" / "model.weights.h5")
    assert info is not None
    return info.sha256


def _check_log(folder: Path) -> None:
    if (folder / "l.db").exists():
        with SearchLog(folder / "l.db") as log:
            rows = log.evaluated()
        assert np.isfinite(rows.accuracy).all()
        assert np.isfinite(rows.latencies).all()
    for name in ("f.json", "m.json"):
        if (folder / name).exists():
            json.loads((folder / name).read_bytes())


def _found(folder: Path) -> object:
    with SearchLog(folder / "l.db") as log:
        rows = log.evaluated()
    return json.loads((folder / "f.json").read_bytes())["stages"], rows.encodings.tolist(), rows.rewards.tolist()


def _fitted(folder: Path) -> object:
    return json.loads((folder / "m.json").read_bytes())["data_sha256"]


COMMANDS: dict[str, tuple[str, Callable[[Path], None], Callable[[Path], object]]] = {
    "export": ("export small.json --format float32 --format int8 -o out --overwrite", _check_exported, _exported),
    "collect": ("search collect host-cpu-float32 --space nas_bench_macro -n 3 --store s.db -o c.csv", _check_store, _collected),
    "import": ("weights import good.weights.h5 --model small.json -o w.weights.h5 --overwrite", _check_weights, _imported),
    "train": ("train small.json --data data --recipe recipe.json -o run --resume", _check_weights, _trained),
    "search": ("search run --space nas_bench_macro --evaluator a.jsonl --cost-model model.json --method random "
               "--reference host-cpu-float32=2.5 --evaluations 400 --log l.db -o f.json", _check_log, _found),
    "fit": ("search fit --space nas_bench_macro --hardware host-cpu-float32 --data c.csv -o m.json", _check_log, _fitted),
}  # fmt: skip


def prepare(folder: Path) -> Path:
    """A folder with what all commands read."""
    (folder / "tmp").mkdir(parents=True)
    (folder / "small.json").write_bytes(SMALL.to_json())
    write_weights(folder / "good.weights.h5", SMALL, random_arrays(SMALL))
    for place in (folder / "data" / part / name for part in ("train", "val") for name in "abcd"):
        place.mkdir(parents=True)
        for number in range(4):
            noise = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(noise).save(place / f"{number}.png")
    recipe = json.loads(RECIPES["short"].to_json()) | {"epochs": 2, "batch_size": 4}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    rows = [{"encoding": row.tolist(), "accuracy": 0.5 + number / 100}
            for number, (row, _) in enumerate(zip(get_space("nas_bench_macro"), range(30), strict=False))]  # fmt: skip
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def left_running(folder: Path) -> list[str]:
    """Processes of a killed command that still run."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={folder}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append((place / "cmdline").read_bytes().decode(errors="replace"))
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_at_any_moment(name: str, tmp_path: Path) -> None:
    words, check, result = COMMANDS[name]
    whole, folder = prepare(tmp_path / "whole"), prepare(tmp_path / "killed")
    if name in ("fit", "search"):
        for place in (whole, folder):
            shutil.copy(DATA / "nas_bench_macro.csv", place / "c.csv")
    if name == "search":
        finish(COMMANDS["fit"][0].replace("m.json", "model.json"), whole)
        shutil.copy(whole / "model.json", folder)
    seconds = finish(words, whole)
    rng = random.Random(name)
    for attempt in range(KILLS):
        number = (signal.SIGKILL, signal.SIGTERM)[attempt % 2]
        process = start(words, folder)
        process.join(rng.uniform(0.05, 0.9) * seconds)
        assert process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode in (0, -number, 128 + number), (folder / "log.txt").read_text()[-3000:]
        for _ in range(100):
            if not left_running(folder):
                break
            time.sleep(0.1)
        assert left_running(folder) == []
        check(folder)
        if process.exitcode == 128 + number:
            assert list((folder / "tmp").iterdir()) == []
            assert not list(folder.rglob(".mhm-*"))
    finish(words, folder)
    check(folder)
    assert "Traceback" not in (folder / "log.txt").read_text()
    assert list((folder / "tmp").iterdir()) == []
    assert not list(folder.rglob(".mhm-*"))
    assert result(folder) == result(whole)
    for database in folder.glob("*.db"):
        assert sqlite3.connect(database).execute("PRAGMA integrity_check").fetchone() == ("ok",)
