"""Presets and data of a search by weight sharing; no TensorFlow here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.errors import FileFormatError, UnknownNameError
from mhmodels.search.errors import SearchError
from mhmodels.search.supernet.presets import PRESETS, Preset, load_preset
from mhmodels.search.supernet.training.data import open_search_data, split
from mhmodels.training.data import digits64
from mhmodels.training.errors import DataError
from tests.training.tiny import Colours, write_folder


def test_the_papers_numbers() -> None:
    """arXiv 2008.08178, section 7.1, and TuNAS' published code."""
    paper = PRESETS["paper"]
    assert paper.architectures * paper.batch_size == 4096
    assert paper.validation_batch == 4 * paper.batch_size
    assert paper.steps == 360 * 1_231_121 // 4096
    assert PRESETS["tunas"].steps == 90 * 1_231_121 // 4096
    assert PRESETS["tunas"].learning_rate.peak == pytest.approx(0.165 * 4096 / 256)
    assert paper.learning_rate.peak == pytest.approx(PRESETS["tunas"].learning_rate.peak / 2)
    controller = paper.controller_settings()
    assert (controller.steps, controller.delay, controller.learning_rate) == (paper.steps, 0.5, 3e-4 * 4096 / 256)


def test_updates_follow_the_steps() -> None:
    quick = PRESETS["quick"]
    assert quick.updates_at(quick.unjudged_steps) == 0
    assert quick.updates_at(quick.unjudged_steps + quick.update_every) == 1
    assert quick.updates_at(quick.steps) == quick.updates == quick.controller_settings().steps
    assert (quick.scored or 0) >= 8
    assert PRESETS["paper"].updates_at(17) == 17


@pytest.mark.parametrize("name", PRESETS)
def test_presets_come_back_from_their_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "preset.json"
    path.write_bytes(PRESETS[name].to_json())
    assert load_preset(path) == PRESETS[name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, r"steps"),
        ({"scored": None}, r"update_every"),
        ({"scored": None, "update_every": 1, "evenly": True}, r"evenly"),
        ({"mixed_operations": True, "walk": None}, r"'evenly' and 'mixed_operations' are both set"),
        ({"policy": {"operation_warm_up": 0.25, "width_warm_up": 0.0}}, r"'evenly' and 'policy.operation_warm_up' are both set"),
        ({"train_only": 0.999, "steps": 100, "update_every": 4}, r"steps"),
        ({"policy": {"delay": 0.1}}, r"operation_warm_up"),
        ({"colour": 1}, r"colour"),
        ({"walk": {"fixed": 0.5, "end": 0.4, "every": 1}}, r"'walk.fixed' is 0.5, expected less than 'walk.end', 0.4"),
        ({"mixed_operations": True, "evenly": False}, r"'mixed_operations' and 'walk' are both set"),
        ({"trained_norms": [1.2, 2]}, r"'trained_norms' is \[1.2, 2.0\], expected a range around 1"),
        ({"preprocessing": {"mean": [1, 2], "std": [1, 2]}}, r"'preprocessing.mean' and .* have 2 values, expected 3"),
        ({"preprocessing": {"mean": [1] * 4, "std": [1] * 4}}, r"'preprocessing.mean' and .* have 4 values, expected 3"),
        ({"augmentation": {"area": [0.9, 0.1]}}, r"'augmentation.area' is \[0.9, 0.1\], expected the least and the largest"),
        ({"augmentation": {"area": [0.1, 1.5]}}, r"'augmentation.area' is \[0.1, 1.5\], .* at most 1"),
        ({"augmentation": {"aspect": [1.5, 0.5]}}, r"'augmentation.aspect' is \[1.5, 0.5\]"),
    ],
)
def test_presets_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    document = {"format": "mhmodels.supernet_preset/1", **msgspec.to_builtins(PRESETS["quick"]), **changes}
    with pytest.raises((FileFormatError, SearchError), match=message):
        Preset.from_json(msgspec.json.encode(document), "mine.json")


def test_one_mean_for_all_channels_will_do() -> None:
    grey = {"preprocessing": {"mean": [128], "std": [128]}, "augmentation": {"area": [1.0, 1.0]}}
    document = {"format": "mhmodels.supernet_preset/1", **msgspec.to_builtins(PRESETS["quick"]), **grey}
    assert Preset.from_json(msgspec.json.encode(document)).augmentation is not None


def test_an_unknown_preset_is_told_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="quick"):
        load_preset("quik")


def test_a_search_sees_no_test_digit_and_validates_on_others_than_it_trains_on() -> None:
    data, parts = open_search_data("digits64"), digits64.split()
    assert len(data.train) == 6 * len(parts.search_train) == 6 * 1137
    assert len(data.validation) == 5 * 300
    assert not set(parts.search_train) & (set(parts.validation) | set(parts.test))
    image, label = data.validation.read(7, 0)
    again, _ = data.validation.read(7, 3)
    assert np.array_equal(np.asarray(image), np.asarray(again))  # canvases to validate on stay the same
    assert label == digits64.digits()[1][parts.validation[7 // 5]]
    assert not np.array_equal(np.asarray(data.train.read(7, 0)[0]), np.asarray(data.train.read(7, 1)[0]))


def test_other_data_are_split_evenly_and_the_same_way_each_time(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pictures", {"red": 40, "green": 40, "blue": 40})
    first, second = open_search_data(str(root)), open_search_data(str(root))
    assert (len(first.train), len(first.validation)) == (115, 5)
    places = [{part.where(i) for i in range(len(part))} for part in first]
    assert not places[0] & places[1]
    assert len(places[0] | places[1]) == 120
    assert [part.where(3) for part in first] == [part.where(3) for part in second]
    assert first.train.fingerprint() != first.validation.fingerprint()
    assert first.train.read(0, 0)[1] in range(3)
    with pytest.raises(DataError, match="1 pictures"):
        split(Colours(count=1))


def test_nothing_here_imports_tensorflow() -> None:
    names = ("cli.run", "supernet.presets", "supernet.network.plan", "supernet.training.data")
    code = f"import sys, {', '.join(f'mhmodels.search.{name}' for name in names)}; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
