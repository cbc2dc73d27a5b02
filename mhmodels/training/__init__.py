"""Training and evaluation on pictures: recipes as data, data sources, and runs that continue exactly where they stopped.

`train_network` is what `mhmodels train` does, as one call, and `evaluate_network` what `mhmodels evaluate` does. Recipes, data
and results are light to import; TensorFlow loads with the first use of `TrainingRequest`, `train_network` or
`evaluate_network`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhmodels.lazy import lazy_names
from mhmodels.training.data.sources import Data, Source, open_data
from mhmodels.training.data.unlabelled import open_pictures
from mhmodels.training.errors import CheckpointError, DataError, RecipeError, TrainingError
from mhmodels.training.named_recipes import load_recipe
from mhmodels.training.recipes import SGD, Adam, Augmentation, Distillation, LearningRate, Recipe, RMSProp
from mhmodels.training.run.progress import Observer, Status
from mhmodels.training.run.run_folder import Metrics, load_metrics

if TYPE_CHECKING:
    from mhmodels.training.evaluation import Evaluation as Evaluation
    from mhmodels.training.session import TrainingRequest as TrainingRequest
    from mhmodels.training.session import evaluate_network as evaluate_network
    from mhmodels.training.session import train_network as train_network

_MODULE_OF = {
    "Evaluation": "evaluation",
    "TrainingRequest": "session",
    "evaluate_network": "session",
    "train_network": "session",
}
"""Names whose modules import TensorFlow; they load on first use."""

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)

__all__ = [
    "SGD",
    "Adam",
    "Augmentation",
    "CheckpointError",
    "Data",
    "DataError",
    "Distillation",
    "Evaluation",
    "LearningRate",
    "Metrics",
    "Observer",
    "RMSProp",
    "Recipe",
    "RecipeError",
    "Source",
    "Status",
    "TrainingError",
    "TrainingRequest",
    "evaluate_network",
    "load_metrics",
    "load_recipe",
    "open_data",
    "open_pictures",
    "train_network",
]
