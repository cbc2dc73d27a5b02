"""The teacher of a distillation: the float network with the weights that a run begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras

from mhmodels.architecture import Architecture
from mhmodels.builder import create_model
from mhmodels.errors import WeightsError
from mhmodels.training.errors import RecipeError, TrainingError
from mhmodels.training.losses import RunLosses, distillation_losses
from mhmodels.training.optimisation import StepSizes
from mhmodels.training.recipes import Adam, Distillation, Recipe
from mhmodels.weights import load_weights, read_info
from mhmodels.weights.downloading.registered import locate


class StudentAccess(NamedTuple):
    """What distillation reads from the transformed model, which `training` knows nothing about.

    Attributes:
        features: Function from the model to its feature maps by the operations that compute them.
        step_sizes: Function from the model to the factors of the learning rate by variable.
    """

    features: Callable[[keras.Model], Mapping[str, keras.KerasTensor]]
    step_sizes: Callable[[keras.Model], StepSizes]


_WHOLE = "the whole network"


def teacher_losses(
    weights: str, architecture: Architecture, distillation: Distillation, student: StudentAccess | None
) -> Callable[[keras.Model], RunLosses]:
    """Returns a function of the trained model that builds the teacher and returns the loss functions of the run.

    Args:
        weights: Path of a weights file, or a registered name.
        architecture: Network of the weights.
        distillation: Temperature and weight of the features.
        student: Access to the trained model; None compares scores alone.
    """

    def losses(trained: keras.Model) -> RunLosses:
        teacher = create_model(architecture, classifier_activation=None)
        load_weights(teacher, weights, architecture)
        maps = student.features(trained) if student and distillation.features else {}
        outputs = [teacher.output, *(output_of(teacher, name) for name in maps)]
        return distillation_losses(keras.Model(teacher.input, outputs), distillation, list(maps.values()))

    return losses


def output_of(model: keras.Model, operation: str) -> keras.KerasTensor:
    """Returns the tensor that an operation of a built model ends with, its activation included."""
    names = {layer.name for layer in model.layers}
    return model.get_layer(next(name for name in (f"{operation}_act", f"{operation}_bn", operation) if name in names)).output


def check_teacher(weights: str | None, architecture: Architecture, recipe: Recipe) -> str:
    """Checks that weights are those of a float network, for the network and the recipe of a run.

    Args:
        weights: Path of a weights file, a registered name, or None.
        architecture: Network of the run, with the preprocessing that it is trained for.
        recipe: Recipe of the run.

    Returns:
        The weights.

    Raises:
        TrainingError: There are no weights.
        WeightsError: The weights cannot be found, come from quantisation-aware training, lack the classifier, or have another
            number of classes.
        RecipeError: The recipe smooths labels, has another optimizer than Adam, or prescribes a preprocessing that the weights
            were not trained for.
    """
    if weights is None:
        raise TrainingError("distillation without weights: expected those of the trained float network (argument 'weights')")
    if recipe.label_smoothing:
        raise RecipeError(
            f"recipe '{recipe.name}': field 'label_smoothing' is {recipe.label_smoothing}, expected 0 with distillation, which "
            "has no labels"
        )
    if not isinstance(recipe.optimizer, Adam):
        raise RecipeError(
            f"recipe '{recipe.name}': field 'optimizer' is {type(recipe.optimizer).__name__}, expected Adam with distillation, "
            "which chooses a step size for each variable"
        )
    info = read_info(locate(weights, architecture))
    if info is None:
        return weights
    if info.learned is not None:
        raise WeightsError(
            f"{weights}: has ranges that quantisation-aware training for {info.learned.format} learned; expected the weights of "
            "the float network as teacher (argument 'weights')"
        )
    stated = info.network(weights)
    if info.holds != _WHOLE or stated.classes != architecture.classes:
        held = f"{stated.classes} classes" if info.holds == _WHOLE else info.holds
        raise WeightsError(
            f"{weights}: has {held}, expected {_WHOLE} with the {architecture.classes} classes of {architecture.name}: "
            "distillation learns the scores of these weights (argument 'weights')"
        )
    if stated.preprocessing != architecture.preprocessing:
        raise RecipeError(
            f"recipe '{recipe.name}': the preprocessing is {architecture.preprocessing}, expected that of the weights, "
            f"{stated.preprocessing}: leave the field 'preprocessing' out of the recipe"
        )
    return weights
