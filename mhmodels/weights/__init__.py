"""Weights: their files, where they come from, and how they get into a model."""

from mhmodels.weights.downloading.registered import locate
from mhmodels.weights.files import open_weights, read_info, read_weights
from mhmodels.weights.importing import Imported, Stated, import_weights
from mhmodels.weights.info import Claim, Labels, Learned, WeightsInfo, content_hash
from mhmodels.weights.labels import Prediction, read_labels
from mhmodels.weights.loading import load_weights, model_arrays, save_weights
from mhmodels.weights.writing import write_weights

__all__ = [
    "Claim",
    "Imported",
    "Labels",
    "Learned",
    "Prediction",
    "Stated",
    "WeightsInfo",
    "content_hash",
    "import_weights",
    "load_weights",
    "locate",
    "model_arrays",
    "open_weights",
    "read_info",
    "read_labels",
    "read_weights",
    "save_weights",
    "write_weights",
]
