"""The teacher of a distillation: the float network with the weights that a run begins with."""

from __future__ import annotations

from collections.abc import Callable

from mhmodels.architecture import Architecture
from mhmodels.builder import create_model
from mhmodels.errors import WeightsError
from mhmodels.training.errors import RecipeError, TrainingError
from mhmodels.training.losses import RunLosses, distillation_losses
from mhmodels.training.recipes import Distillation, Recipe
from mhmodels.weights import load_weights, read_info
from mhmodels.weights.downloading.registered import locate

_WHOLE = "the whole network"


def teacher_losses(weights: str, architecture: Architecture, distillation: Distillation) -> Callable[[], RunLosses]:
    """Returns a function that builds the teacher and returns the loss functions of the run.

    Args:
        weights: Path of a weights file, or a registered name.
        architecture: Network of the weights.
        distillation: The temperature.
    """

    def losses() -> RunLosses:
        teacher = create_model(architecture, classifier_activation=None)
        load_weights(teacher, weights, architecture)
        return distillation_losses(teacher, distillation)

    return losses


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
        RecipeError: The recipe smooths labels, or prescribes a preprocessing that the weights were not trained for.
    """
    if weights is None:
        raise TrainingError("distillation without weights: expected those of the trained float network (argument 'weights')")
    if recipe.label_smoothing:
        raise RecipeError(
            f"recipe '{recipe.name}': field 'label_smoothing' is {recipe.label_smoothing}, expected 0 with distillation, which "
            "has no labels"
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
