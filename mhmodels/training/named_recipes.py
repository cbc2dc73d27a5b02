"""The recipes by name, and reading a recipe by name or from a file.

`paper` is the recipe of the multi-hardware models (arXiv 2008.08178, which takes over TuNAS, arXiv 2008.06120, and its code);
`short` is TuNAS's schedule of 90 epochs; `digits` trains on the cluttered digits of `digits64`; `digits-finetune` continues
from trained weights, as quantisation-aware training does; `distil` learns from the float network instead of labels, with few
pictures.
"""

from __future__ import annotations

import os

import msgspec

from mhmodels.architecture import Preprocessing
from mhmodels.formats.json_files import named_or_file
from mhmodels.training.recipes import Adam, Augmentation, LearningRate, Recipe, RMSProp

IMAGENET_PREPROCESSING = Preprocessing(
    mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), crop_fraction=0.875, interpolation="bicubic"
)
"""The statistics of ImageNet's pixels, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) times 255; crop 224 of 256."""

PAPER = Recipe(
    name="paper",
    epochs=360,
    batch_size=4096,
    optimizer=RMSProp(),
    learning_rate=LearningRate(peak=0.165, reference_batch=256, warmup=0.025),
    label_smoothing=0.1,
    l2=4e-5,
    dropout=0.25,
    augmentation=Augmentation(),
    preprocessing=IMAGENET_PREPROCESSING,
    evaluate_every=10,
)

DIGITS = Recipe(
    name="digits",
    epochs=40,
    batch_size=64,
    optimizer=Adam(),
    learning_rate=LearningRate(peak=4e-3, warmup=0.05),
    dropout=0.2,
    batch_norm_momentum=0.9,
    preprocessing=Preprocessing(mean=(128.0,) * 3, std=(128.0,) * 3, crop_fraction=1.0),
)

DIGITS_FINETUNE = msgspec.structs.replace(DIGITS, name="digits-finetune", epochs=3, learning_rate=LearningRate(peak=5e-4))

DISTIL = Recipe(
    name="distil",
    epochs=6,
    batch_size=16,
    optimizer=Adam(beta_2=0.99, epsilon=1e-12),
    learning_rate=LearningRate(peak=1e-3, warmup=0.1),
    augmentation=Augmentation(area=(0.35, 1.0)),
    patience=6,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        PAPER,
        # TuNAS trains without dropout below 150 epochs.
        msgspec.structs.replace(PAPER, name="short", epochs=90, dropout=0.0),
        DIGITS,
        DIGITS_FINETUNE,
        DISTIL,
    )
}


def load_recipe(recipe: str | os.PathLike[str]) -> Recipe:
    """Returns a recipe by its name, or reads a recipe file.

    Args:
        recipe: `paper`, `short`, `digits`, `digits-finetune`, `distil`, or the path of a JSON file of format `mhmodels.recipe/1`.

    Raises:
        UnknownNameError: `recipe` is neither a name nor a .json file.
        FileFormatError: The file cannot be read or is not a recipe.

    Example:
        >>> from mhmodels.training import load_recipe
        >>> load_recipe("paper").epochs
        360
    """
    return named_or_file(recipe, "recipe", RECIPES, Recipe.from_json)
