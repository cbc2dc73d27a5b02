"""mhmodels: multi-hardware mobile backbones, one network for a phone's CPU, GPU, DSP and NPU.

Importing this package is light: TensorFlow and Keras load when a model is built. Besides the names in `__all__` it has one
builder for every network of the zoo, such as `MultiMAX` and `MobileNetV3Large`, with the arguments of `keras.applications`.
Files, measurements, training and searches have packages of their own: `mhmodels.export`, `mhmodels.hardware`,
`mhmodels.training`, `mhmodels.weights`, `mhmodels.search`, `mhmodels.android_bench`.

    from mhmodels import MultiMAX, create_model
    model = MultiMAX(width_multiplier=0.75, classes=10)
    model = create_model("mobilenet_v2@1.4", include_top=False)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from mhmodels.architecture import Architecture, load_architecture
from mhmodels.complexity import complexity
from mhmodels.errors import MhmodelsError
from mhmodels.registry import endpoints, get_architecture, list_models, resolve, zoo
from mhmodels.version import __version__

if TYPE_CHECKING:
    import os

    import keras
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from mhmodels.architecture import Preprocessing
    from mhmodels.weights.labels import LabelSource, Prediction


def create_model(
    model: str | Architecture,
    *,
    input_shape: Sequence[int | None] | None = None,
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = None,
    input_tensor: keras.KerasTensor | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    width_multiplier: float | None = None,
    dropout: float = 0.2,
    features: bool = False,
    out_strides: Collection[int] | None = None,
    output_stride: int | None = None,
) -> keras.Model:
    """Builds a Keras model of a zoo network or of any architecture.

    Args:
        model: A zoo name (`list_models()`), `NAME@WIDTH`, the path of an architecture file, or an `Architecture`.
        input_shape: (height, width, channels) in pixels, channels last. Each side is from 32 to 4096, or None for unknown. The
            default is the architecture's own input.
        include_top: Whether to add global pooling, the convolutions after it and the classifier.
        weights: None for random initial weights, the path of a weights file, or a registered name such as `digits64`. Weights
            of a network that is given by name also state its class count and input size where the arguments do not.
        input_tensor: A Keras tensor to build upon instead of a new input.
        pooling: Without the top: None for the last feature map (4D), `avg` or `max` for a pooled vector (2D).
        classes: Number of classes of the classifier, from 1 to 1,000,000.
        classifier_activation: `softmax`, any Keras activation, or None for logits.
        name: Name of the Keras model. The default is the architecture's name.
        width_multiplier: Factor above 0 and at most 16 that scales all widths by the architecture's own rounding rule.
        dropout: Dropout rate before the classifier in training, at least 0 and below 1.
        features: Whether the model returns feature maps for a detector or a segmenter instead of scores. It has no top then.
        out_strides: With `features`, the wanted strides, for example (4, 8, 16, 32): one map for each, in this order, which is
            the last endpoint at that stride. None returns every endpoint, the finest first; of endpoints that `output_stride`
            brings to one stride, the last. `endpoints` lists them.
        output_stride: 8, 16 or 32: feature maps do not get smaller than the input divided by this number. Depthwise kernels
            beyond it are dilated instead, as in TF Model Garden. With the top, the classifier pools larger maps.

    Returns:
        A functional Keras model. Its input is a float32 batch of pictures (batch, height, width, channels), preprocessed as
        `architecture.preprocessing` says (`preprocess_input`). Its output is the scores (batch, classes); without the top the
        last feature map or its pooled vector; with `features` a list of maps (batch, height / stride, width / stride,
        channels), sizes rounded up. An `Identity` layer behind the input states the preprocessing in its name, so that a
        `.keras` file of the model, or of a model that is built upon it, keeps it.

    Raises:
        ArchitectureError: An argument is out of range; the message names it and what is expected.
        UnknownNameError: The zoo has no network, or the registry no weights, of that name.
        WeightsError: The weights do not fit the network or cannot be obtained.

    Example:
        >>> from mhmodels import create_model
        >>> model = create_model("multi_max@0.25", input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
        >>> [tuple(each.shape[1:]) for each in create_model("multi_avg", features=True, out_strides=(8, 16)).outputs]
        [(28, 28, 64), (14, 14, 160)]
    """
    from mhmodels.builder import create_model as build

    return build(
        model,
        input_shape=input_shape,
        include_top=include_top,
        weights=weights,
        input_tensor=input_tensor,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name,
        width_multiplier=width_multiplier,
        dropout=dropout,
        features=features,
        out_strides=out_strides,
        output_stride=output_stride,
    )


def preprocess_input(
    pixels: ArrayLike, model: keras.Model | Architecture | Preprocessing | str | os.PathLike[str]
) -> NDArray[np.float32]:
    """Normalises pixels as a model expects them: (pixel - mean) / std for each channel. It neither crops nor resizes.

    `mhmodels.preprocessing.load_pictures` also reads, crops and resizes picture files by the same rule.

    Args:
        pixels: RGB pixels of shape (…, height, width, channels): uint8, or floats from 0 to 255.
        model: The network whose rule applies: a Keras model that `create_model` built or that is built upon one, an
            `Architecture`, a `Preprocessing`, a zoo name, or the path of a weights file, a `.keras` file or an architecture file.

    Returns:
        A float32 array of the same shape.

    Raises:
        PictureError: The pixels are outside 0 to 255 (already normalised pixels are), or their channels do not fit.
        MhmodelsError: `model` is none of these, or states no preprocessing.

    Example:
        >>> import numpy as np
        >>> from mhmodels import preprocess_input
        >>> preprocess_input(np.full((1, 1, 3), 255, np.uint8), "mobilenet_v2").tolist()
        [[[1.0, 1.0, 1.0]]]
    """
    from mhmodels.inference import preprocess_input as preprocess

    return preprocess(pixels, model)


def decode_predictions(scores: ArrayLike, labels: LabelSource = None, top: int = 5) -> list[list[Prediction]]:
    """Returns the classes with the highest scores for each picture.

    Args:
        scores: A network's probabilities or logits, shape (pictures, outputs) or (outputs,).
        labels: Class names: a `mhmodels.weights.Labels`, a sequence of names in the order of the classes, or the path of a
            weights file or of a text file with one name a line, or `imagenet-1k` for the names of ImageNet's classes. None
            names each class by its index. Where one output more than names is a background class, give a `Labels` that says
            which.
        top: Number of classes for each picture, at least 1.

    Returns:
        For each picture up to `top` predictions (class_index, label, score), the best first.

    Raises:
        WeightsError: The scores have another shape, the number of names does not fit, or the background output is unknown.

    Example:
        >>> from mhmodels import decode_predictions
        >>> decode_predictions([0.1, 0.7, 0.2], ["ant", "bee", "cat"], top=1)
        [[Prediction(class_index=1, label='bee', score=0.7)]]
    """
    from mhmodels.weights.labels import decode_predictions as decode

    return decode(scores, labels, top)


@functools.cache
def _builder(class_name: str, model: str) -> Callable[..., keras.Model]:
    """A function as in keras.applications, bound to a zoo name: `MultiMAX(input_shape=…, width_multiplier=…)`."""

    def build(
        input_shape: Sequence[int | None] | None = None,
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = None,
        **others: object,
    ) -> keras.Model:
        arguments = signature.bind(input_shape, include_top, weights, **others).arguments
        return create_model(model, **arguments)

    entry = zoo()[model]
    size = entry.architecture.input_size[0]
    build.__name__ = build.__qualname__ = class_name
    build.__doc__ = f"""Builds the network `{model}` of the zoo as a Keras model: {entry.title} ({entry.source}).

    The arguments are those of `create_model`, without the model. As in keras.applications the first three may be given by
    position.

    Returns:
        A Keras model from float32 pictures (batch, {size}, {size}, 3) to scores (batch, 1000), unless arguments say otherwise.

    Raises:
        MhmodelsError: An argument is out of range, or the weights do not fit.

    Example:
        >>> from mhmodels import {class_name}
        >>> {class_name}(classes=10).output_shape
        (None, 10)
    """
    common = inspect.signature(create_model)
    first = [common.parameters[name].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in _BY_POSITION]
    rest = [parameter for name, parameter in common.parameters.items() if name not in ("model", *_BY_POSITION)]
    signature = common.replace(parameters=[*first, *rest])
    vars(build)["__signature__"] = signature
    return build


_BY_POSITION = ("input_shape", "include_top", "weights")


def _builders() -> dict[str, str]:
    """Zoo names by the names of their builders, as the families' tables declare them."""
    return {entry.builder: name for name, entry in zoo().items() if entry.builder}


def __getattr__(name: str) -> Callable[..., keras.Model]:
    """`mhmodels.MultiMAX` and its like: every zoo entry with a builder name, so that a new family needs no line here."""
    if name[:1].isupper() and name in (builders := _builders()):
        return _builder(name, builders[name])
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
