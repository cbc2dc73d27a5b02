"""mhmodels: multi-hardware mobile backbones, one network for a phone's CPU, GPU, DSP and NPU.

Importing this package is light: TensorFlow and Keras load when a model is built.

    from mhmodels import MultiMAX, create_model
    model = MultiMAX(width_multiplier=0.75, classes=10)
    model = create_model("mobilenet_v2@1.4", include_top=False)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mhmodels.architecture import Architecture, load_architecture
from mhmodels.complexity import complexity
from mhmodels.errors import MhmodelsError
from mhmodels.registry import endpoints, get_architecture, list_models, resolve, zoo
from mhmodels.version import __version__

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from mhmodels.weights.labels import LabelSource, Prediction


def create_model(model: str | Architecture, **arguments: Any) -> keras.Model:
    """Builds a Keras model; see `mhmodels.builder.create_model` for the arguments."""
    from mhmodels.builder import create_model as build

    return build(model, **arguments)


def preprocess_input(pixels: Any, model: Any) -> NDArray[np.float32]:
    """Pixels as a model, an architecture or a weights file wants them; see `mhmodels.inference.preprocess_input`."""
    from mhmodels.inference import preprocess_input as preprocess

    return preprocess(pixels, model)


def decode_predictions(scores: Any, labels: LabelSource = None, top: int = 5) -> list[list[Prediction]]:
    """The best classes of every picture; see `mhmodels.weights.labels.decode_predictions`."""
    from mhmodels.weights.labels import decode_predictions as decode

    return decode(scores, labels, top)


class _Builder:
    """A callable as in keras.applications (`MultiMAX(input_shape=…, width_multiplier=…)`), bound to a zoo name."""

    def __init__(self, class_name: str, model: str) -> None:
        self.__name__ = self.__qualname__ = class_name
        self.model = model
        self.__doc__ = f"Builds `{model}`; arguments as `mhmodels.builder.create_model`, input shape and weights first."

    def __call__(
        self, input_shape: Any = None, include_top: bool = True, weights: str | None = None, **arguments: Any
    ) -> keras.Model:
        return create_model(self.model, input_shape=input_shape, include_top=include_top, weights=weights, **arguments)

    def __repr__(self) -> str:
        return f"<builder of {self.model}>"


def _builders() -> dict[str, str]:
    """Zoo names by the names of their builders, as the families' tables declare them."""
    return {entry.builder: name for name, entry in zoo().items() if entry.builder}


def __getattr__(name: str) -> _Builder:
    """`mhmodels.MultiMAX` and its like: every zoo entry with a builder name, so that a new family needs no line here."""
    if name[:1].isupper() and name in (builders := _builders()):
        return _Builder(name, builders[name])
    raise AttributeError(f"module 'mhmodels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_builders()})


__all__ = [
    "Architecture",
    "MhmodelsError",
    "__version__",
    "complexity",
    "create_model",
    "decode_predictions",
    "endpoints",
    "get_architecture",
    "list_models",
    "load_architecture",
    "preprocess_input",
    "resolve",
]
