"""Training recipes as data: optimizer, schedule, regularisation and augmentation, with JSON input and output."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from mhmodels.architecture import Interpolation, Preprocessing, decode_json
from mhmodels.formats.checked import Checked
from mhmodels.training.errors import RecipeError

FORMAT: Literal["mhmodels.recipe/1"] = "mhmodels.recipe/1"

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class RMSProp(Checked, frozen=True, kw_only=True, tag_field="type", tag="rmsprop"):
    """RMSProp with momentum, with `epsilon` under the root as in TensorFlow 1.

    Attributes:
        decay: Decay of the average of squared gradients, at least 0 and below 1.
        momentum: Momentum, at least 0 and below 1.
        epsilon: Constant under the root, above 0.

    Example:
        >>> from mhmodels.training import RMSProp
        >>> RMSProp(momentum=0.8).decay
        0.9
    """

    field_error: ClassVar = RecipeError
    decay: Share = 0.9
    momentum: Share = 0.9
    epsilon: Positive = 1.0


class Adam(Checked, frozen=True, kw_only=True, tag_field="type", tag="adam"):
    """Adam (arXiv 1412.6980).

    Attributes:
        beta_1: Decay of the average of gradients, at least 0 and below 1.
        beta_2: Decay of the average of squared gradients, at least 0 and below 1.
        epsilon: Constant beside the root, above 0.

    Example:
        >>> from mhmodels.training import Adam
        >>> Adam(beta_1=0.8).beta_2
        0.999
    """

    field_error: ClassVar = RecipeError
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Positive = 1e-7


class SGD(Checked, frozen=True, kw_only=True, tag_field="type", tag="sgd"):
    """Stochastic gradient descent with momentum.

    Attributes:
        momentum: Momentum, at least 0 and below 1.
        nesterov: Whether to use Nesterov's variant.

    Example:
        >>> from mhmodels.training import SGD
        >>> SGD(nesterov=True).momentum
        0.9
    """

    field_error: ClassVar = RecipeError
    momentum: Share = 0.9
    nesterov: bool = False


class LearningRate(Checked, frozen=True, kw_only=True):
    """Learning rate schedule: linear warm-up from 0 to the peak, then a cosine decay to 0, or a constant rate.

    Attributes:
        peak: Highest learning rate. With `reference_batch` it holds for that batch size and is scaled in proportion to the batch.
        reference_batch: Batch size in pictures for which `peak` is stated; None uses `peak` as it is.
        warmup: Share of all steps that the warm-up takes, at least 0 and below 1.
        decay: Schedule after the warm-up: `cosine` or `constant`.

    Example:
        >>> from mhmodels.training import LearningRate
        >>> LearningRate(peak=0.1, reference_batch=256).peak_at(1024)
        0.4
    """

    field_error: ClassVar = RecipeError
    peak: Positive
    reference_batch: Count | None = None
    warmup: Share = 0.0
    decay: Literal["cosine", "constant"] = "cosine"

    def peak_at(self, batch_size: int) -> float:
        """Returns the highest learning rate at a global batch size."""
        return self.peak if self.reference_batch is None else self.peak * batch_size / self.reference_batch


class Augmentation(Checked, frozen=True, kw_only=True):
    """Random crop of a picture, resized to the network's input, as in the training of Inception and ResNet.

    Attributes:
        area: Least and largest share of the picture's area that the crop takes.
        aspect: Least and largest ratio of the crop's width to its height.
        attempts: Number of random crops to try before the central crop is taken instead.
        flip: Whether to mirror every second picture.
        interpolation: Method that resizes the crop.

    Raises:
        RecipeError: A range does not ascend or exceeds its limits.

    Example:
        >>> from mhmodels.training import Augmentation
        >>> Augmentation(area=(0.35, 1.0), flip=False).attempts
        10
    """

    field_error: ClassVar = RecipeError
    area: tuple[Positive, Positive] = (0.08, 1.0)
    aspect: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    attempts: Count = 10
    flip: bool = True
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        super().__post_init__()
        ranges = (
            ("area", self.area, 1.0, "share of the picture, at most 1"),
            ("aspect", self.aspect, math.inf, "width by height"),
        )
        for field, (low, high), most, what in ranges:
            if not low <= high <= most or math.isinf(high):
                raise RecipeError(f"field 'augmentation.{field}' is {[low, high]}, expected the least and the largest {what}")


class Distillation(Checked, frozen=True, kw_only=True):
    """Settings of training with the scores of a float network in place of labels (arXiv 1503.02531).

    Attributes:
        temperature: Number by which the logits of both networks are divided before the softmax, above 0.
        features: Weight of the differences between the feature maps of both networks in the loss; 0 compares scores alone.

    Example:
        >>> from mhmodels.training import Distillation
        >>> Distillation(temperature=4.0).temperature
        4.0
    """

    field_error: ClassVar = RecipeError
    temperature: Positive = 1.0
    features: NotNegative = 1.0


class Recipe(Checked, frozen=True, kw_only=True):
    """Everything that decides how weights come from data, except the network, the data and the random seed.

    Attributes:
        name: Name of the recipe, for records.
        epochs: Number of passes over the training pictures.
        batch_size: Number of pictures in a step, over all replicas.
        optimizer: `RMSProp`, `Adam` or `SGD` with its settings.
        learning_rate: Schedule of the learning rate.
        label_smoothing: Share of the target that is spread over all classes, at least 0 and below 1.
        l2: Strength of L2 regularisation. The loss grows by l2 / 2 times the sum of squared kernels of convolutions, full and
            depthwise. The classifier, biases and batch normalisation are not regularised.
        dropout: Dropout rate before the classifier, at least 0 and below 1.
        batch_norm_momentum: Momentum of the moving statistics of batch normalisation.
        synchronised_batch_norm: Whether batch statistics are taken over the pictures of all replicas.
        ema: Decay of an exponential moving average of the weights, which is then evaluated and saved; None for no average.
        augmentation: Augmentation of training pictures; None feeds the central crop.
        preprocessing: Preprocessing that replaces the network's own and is written to the weights file; None keeps the network's.
        evaluate_every: Number of epochs between evaluations. The last epoch is always evaluated.
        patience: Number of evaluations without improvement after which training stops. The result then has the weights of the
            evaluation with the lowest loss, the one before the first step included. None trains all epochs and keeps the last
            weights.

    Raises:
        RecipeError: A field is outside its limits; the message names it.

    Example:
        >>> from mhmodels.training import Adam, LearningRate, Recipe
        >>> recipe = Recipe(name="mine", epochs=3, batch_size=32, optimizer=Adam(), learning_rate=LearningRate(peak=1e-3))
        >>> Recipe.from_json(recipe.to_json()) == recipe
        True
    """

    field_error: ClassVar = RecipeError
    name: str
    epochs: Count
    batch_size: Count
    optimizer: RMSProp | Adam | SGD
    learning_rate: LearningRate
    label_smoothing: Share = 0.0
    l2: NotNegative = 0.0
    dropout: Share = 0.0
    batch_norm_momentum: Share = 0.99
    synchronised_batch_norm: bool = False
    ema: Share | None = None
    augmentation: Augmentation | None = None
    preprocessing: Preprocessing | None = None
    evaluate_every: Count = 1
    patience: Count | None = None
    max_bad_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01

    def to_json(self) -> bytes:
        """Returns the content of a recipe file: indented JSON with every field, so that it can be copied and changed."""
        document = {"format": FORMAT, **msgspec.to_builtins(self)}
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"

    @staticmethod
    def from_json(data: bytes | str, source: str = "recipe") -> Recipe:
        """Reads what `to_json` wrote.

        Raises:
            FileFormatError: Not JSON, another format, or a wrong field; the message has `source` and the field's path.
        """
        return decode_json(data, Recipe, FORMAT, source)
