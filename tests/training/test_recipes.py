"""Recipes: the paper's figures, the file format, and what is said of wrong files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.errors import FileFormatError, UnknownNameError
from mhmodels.training.named_recipes import RECIPES, load_recipe
from mhmodels.training.recipes import Recipe, RMSProp


def test_the_papers_recipe() -> None:
    """TuNAS's stand-alone training with the paper's dropout and epochs."""
    paper = RECIPES["paper"]
    assert (paper.epochs, paper.batch_size, paper.dropout, paper.label_smoothing, paper.l2) == (360, 4096, 0.25, 0.1, 4e-5)
    assert paper.optimizer == RMSProp(decay=0.9, momentum=0.9, epsilon=1.0)
    assert paper.learning_rate.peak_at(4096) == pytest.approx(2.64)
    # 2.5 % of 112,602 steps.
    assert round(paper.learning_rate.warmup * 1_281_167 * 360 / 4096) == 2815
    assert (paper.batch_norm_momentum, paper.ema, paper.learning_rate.decay) == (0.99, None, "cosine")
    assert paper.augmentation is not None
    assert (paper.augmentation.area, paper.augmentation.attempts) == ((0.08, 1.0), 10)
    assert paper.preprocessing is not None
    assert paper.preprocessing.mean == pytest.approx((0.485 * 255, 0.456 * 255, 0.406 * 255))
    assert paper.preprocessing.std == pytest.approx((0.229 * 255, 0.224 * 255, 0.225 * 255))
    assert paper.preprocessing.crop_fraction == 224 / 256
    assert (RECIPES["short"].epochs, RECIPES["short"].dropout) == (90, 0.0)


@pytest.mark.parametrize("name", RECIPES)
def test_round_trip(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_bytes(RECIPES[name].to_json())
    assert load_recipe(path) == RECIPES[name]
    assert load_recipe(name) == RECIPES[name]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"epochs": 40', '"epochs": 0', r"\$\.epochs.*found '0'"),
        ('"dropout": 0.2', '"dropout": 1.5', r"\$\.dropout.*found '1.5'"),
        ('"type": "adam"', '"type": "lion"', r"lion"),
        ('"peak": 0.004', '"peak": "high"', r"\$\.learning_rate\.peak"),
        ('"epochs": 40', '"epoch": 24', r"epoch"),
        (
            '"augmentation": null',
            '"augmentation": {"area": [0.9, 0.1]}',
            r"'augmentation.area' is \[0.9, 0.1\], expected the least",
        ),
        ('"augmentation": null', '"augmentation": {"area": [0.1, 1.5]}', r"'augmentation.area' is \[0.1, 1.5\], .* at most 1"),
        ('"augmentation": null', '"augmentation": {"aspect": [2, 1]}', r"'augmentation.aspect' is \[2.0, 1.0\]"),
        ("mhmodels.recipe/1", "mhmodels.recipe/9", r"field 'format' is 'mhmodels.recipe/9', expected 'mhmodels.recipe/1'"),
        ('"epochs": 40', '"epochs": 40,,', r"not a JSON file"),
    ],
)
def test_wrong_files_are_explained(old: str, new: str, message: str) -> None:
    text = RECIPES["digits"].to_json().decode()
    assert old in text
    with pytest.raises(FileFormatError, match=rf"mine\.json: .*{message}"):
        Recipe.from_json(text.replace(old, new), "mine.json")


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="unknown recipe 'papr': did you mean paper"):
        load_recipe("papr")
    with pytest.raises(FileFormatError, match=r"nothing\.json: cannot be read"):
        load_recipe("nothing.json")
