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
from mhmodels.registry import get_architecture, list_models, resolve

if TYPE_CHECKING:
    import keras

__version__ = "0.1.0"


def create_model(model: str | Architecture, **arguments: Any) -> keras.Model:
    """Builds a Keras model; see `mhmodels.builder.create_model` for the arguments."""
    from mhmodels.builder import create_model as build

    return build(model, **arguments)


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


MultiAVG = _Builder("MultiAVG", "multi_avg")
MultiMAX = _Builder("MultiMAX", "multi_max")
MobileNetV1 = _Builder("MobileNetV1", "mobilenet_v1")
MobileNetV2 = _Builder("MobileNetV2", "mobilenet_v2")
MobileNetV3Large = _Builder("MobileNetV3Large", "mobilenet_v3_large")
MobileNetV3LargeMinimalistic = _Builder("MobileNetV3LargeMinimalistic", "mobilenet_v3_large_minimalistic")
MobileNetEdgeTPU = _Builder("MobileNetEdgeTPU", "mobilenet_edgetpu")
ProxylessNASMobile = _Builder("ProxylessNASMobile", "proxylessnas_mobile")

__all__ = [
    "Architecture",
    "MhmodelsError",
    "MobileNetEdgeTPU",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3LargeMinimalistic",
    "MultiAVG",
    "MultiMAX",
    "ProxylessNASMobile",
    "__version__",
    "complexity",
    "create_model",
    "get_architecture",
    "list_models",
    "load_architecture",
    "resolve",
]
