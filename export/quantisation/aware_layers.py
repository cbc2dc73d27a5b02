"""Keras layers that compute in floating point what an integer file computes, and that train through the roundings.

After Jacob et al. (arXiv 1712.05877, section 3): weights and activations are rounded to their grids in the forward pass,
gradients pass as if they were not (straight-through), and batch normalisation is folded into the weights before these
are rounded. Scales and zero points follow `mhmodels.export.quantisation.scheme` to the letter. Keras operations only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import keras
from keras import ops

from mhmodels.export.errors import ExportError
from mhmodels.network import WindowPadding

Grid: TypeAlias = Literal["channel", "tensor", "asymmetric", "none"]
"""Grid of a kernel: symmetric per channel, symmetric per tensor, asymmetric per tensor (uint8), or no rounding."""

Interval: TypeAlias = tuple[float, float]

BackendTensor: TypeAlias = Any
"""A tensor or variable of the backend that Keras runs on, for which Keras has no type."""

EMA = 0.99
"""Share of its range that a tensor keeps in each training step."""

GATE_OFFSET, GATE_SLOPE = 3.0, 6.0
_SMALLEST_SPAN = 1e-6
_SMALLEST_WEIGHT_STEP = 1e-9  # as scheme: a dead channel still needs a scale


def nudged(low: BackendTensor, high: BackendTensor) -> tuple[BackendTensor, BackendTensor]:
    """Returns the smallest and largest real number of the grid that `parameters.activation_quantisation` makes of a range."""
    low, high = ops.minimum(low, 0.0), ops.maximum(high, 0.0)
    scale = ops.maximum(high - low, _SMALLEST_SPAN) / 255.0
    zero_point = ops.clip(ops.round(-low / scale), 0.0, 255.0)
    return -zero_point * scale, (255.0 - zero_point) * scale


def rounded_kernel(kernel: BackendTensor, grid: Grid, channel_axis: int) -> BackendTensor:
    """Returns a kernel as its integers represent it. The gradient is that of the identity, also at the largest weights.

    Args:
        kernel: Folded weights, float32.
        grid: How its integers lie.
        channel_axis: Of the output channels.
    """
    if grid == "none":
        return kernel
    values = ops.stop_gradient(kernel)
    axis = None
    if grid == "asymmetric":
        low, high = ops.minimum(ops.min(values), 0.0), ops.maximum(ops.max(values), 0.0)
        scale = ops.maximum((high - low) / 254.0, _SMALLEST_WEIGHT_STEP)
        zero_point = ops.clip(1.0 + ops.round(-low / scale), 1.0, 255.0)
        low, high = (1.0 - zero_point) * scale, (255.0 - zero_point) * scale
    else:
        axis = channel_axis if grid == "channel" else None
        others = None if axis is None else [i for i in range(len(kernel.shape)) if i != axis]
        high = ops.maximum(ops.max(ops.abs(values), axis=others), 127.0 * _SMALLEST_WEIGHT_STEP)
        low = -high
    rounded = keras.quantizers.fake_quant_with_min_max_vars(values, low, high, num_bits=8, narrow_range=True, axis=axis)
    return kernel + ops.stop_gradient(rounded - values)


@keras.saving.register_keras_serializable(package="mhmodels")
class Quantise(keras.layers.Layer):  # type: ignore[misc]
    """Rounds a tensor to the 256 values of its grid, and learns its range as a moving average of batch extremes.

    The gradient passes inside the grid's range and is zero outside.

    Args:
        tensor: Name of the tensor, as `scheme.calibrated_tensors` has it.
        ema: Share of the old range that a step keeps. The first batch, where there is no range yet, sets it.
        fixed: A range that follows from a rule and is never learned.
    """

    def __init__(self, tensor: str, ema: float = EMA, fixed: Interval | None = None, **settings: object) -> None:
        super().__init__(**settings)
        self.tensor, self.ema = tensor, ema
        self.fixed = None if fixed is None else (float(fixed[0]), float(fixed[1]))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the range (low, high) and the count of its updates."""
        if self.fixed is None:
            shared = {"initializer": "zeros", "trainable": False, "dtype": "float32", "autocast": False}
            self.range = self.add_weight(shape=(2,), name="range", aggregation="mean", **shared)
            self.seen = self.add_weight(shape=(), name="seen", aggregation="only_first_replica", **shared)
        self.built = True

    def set_range(self, low: float, high: float) -> None:
        """Sets the range to a calibrated one, from which training goes on."""
        self.range.assign([low, high])
        self.seen.assign(1.0)

    def call(self, x: BackendTensor, training: bool | None = None, observe: bool = True) -> BackendTensor:
        """Rounds `x`; in training the range is updated first, unless the tensor only shares it (`observe=False`)."""
        if self.fixed is not None:
            return keras.quantizers.fake_quant_with_min_max_vars(x, *self.fixed)
        if training and observe:
            batch = self._extremes(x)
            keep = ops.where(self.seen > 0, self.ema, 0.0)
            current = self.range * keep + batch * (1.0 - keep)
            self.range.assign(current)
            self.seen.assign(self.seen + 1.0)
        else:
            # A range that nobody has set or learned yet: that of the batch itself.
            current = ops.cond(self.seen > 0, lambda: ops.convert_to_tensor(self.range), lambda: self._extremes(x))
        return keras.quantizers.fake_quant_with_min_max_vars(x, *nudged(current[0], current[1]))

    def _extremes(self, x: BackendTensor) -> BackendTensor:
        x = ops.stop_gradient(x)
        return ops.stack([ops.min(x), ops.max(x)])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, object]:
        """Returns the configuration for saving."""
        return {**super().get_config(), "tensor": self.tensor, "ema": self.ema, "fixed": self.fixed}


@keras.saving.register_keras_serializable(package="mhmodels")
class QuantisedImage(Quantise):
    """Rounds the input, and carries the record of the model, so that a saved model knows what it was made for.

    Args:
        record: Plain data: architecture and scheme.
    """

    def __init__(self, record: Mapping[str, object], **settings: Any) -> None:
        super().__init__(**settings)
        self.record = dict(record)

    def get_config(self) -> dict[str, object]:
        """Returns the configuration for saving."""
        return {**super().get_config(), "record": self.record}


@keras.saving.register_keras_serializable(package="mhmodels")
class FoldedConvolution(keras.layers.Layer):  # type: ignore[misc]
    """A convolution whose batch normalisation is folded into its kernel before this is rounded (section 3.2).

    The two layers are those of the float model, so that both models share their variables. In training the moving
    variance scales the kernel, which keeps its grid steady, and the result is corrected to the batch's own statistics
    (as Krishnamoorthi, arXiv 1806.08342, section 3.2.2, does); after `freeze_after` steps, as in inference, the
    statistics stay what they are.

    Args:
        convolution: `Conv2D`, `DepthwiseConv2D` or `Dense`; its own activation is not applied.
        norm: Its batch normalisation, if it has one.
        grid: Of the kernel.
        gate: Whether a hard-sigmoid follows: (x + 3) / 6 is then part of the weights, and its clipping the next layer's.
        freeze_after: Training steps with batch statistics.
        padding: Padding of the window, where it is another one than the convolution's: a network of unknown size has zeros of
            their own before strides, which SAME has at some sizes. None for that of the convolution.
    """

    def __init__(
        self,
        convolution: keras.layers.Layer,
        norm: keras.layers.Layer | None,
        grid: Grid,
        gate: bool = False,
        freeze_after: int = 0,
        padding: WindowPadding | None = None,
        **settings: object,
    ) -> None:
        super().__init__(**settings)
        self.convolution, self.norm, self.padding = convolution, norm, padding
        self.grid, self.gate, self.freeze_after = grid, gate, freeze_after
        self.depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the wrapped layers that are not built yet, and creates the step counter."""
        if not self.convolution.built:
            self.convolution.build(input_shape)
        if self.norm is not None:
            if not self.norm.built:
                self.norm.build(self.convolution.compute_output_shape(input_shape))
            self.steps = self.add_weight(
                shape=(),
                name="steps",
                initializer="zeros",
                trainable=False,
                dtype="float32",
                autocast=False,
                aggregation="only_first_replica",
            )
        if self.compute_dtype != "float32" or self.convolution.compute_dtype != "float32":
            raise ExportError(
                f"layer '{self.name}' computes in {self.convolution.compute_dtype}, expected float32: 8 bits have finer steps"
                " than half precision; train with argument 'mixed_precision=none'"
            )
        self.built = True

    def call(self, x: BackendTensor, training: bool | None = None) -> BackendTensor:
        """Returns the result before the activation, which is not rounded yet."""
        kernel, bias = ops.convert_to_tensor(self.convolution.kernel), 0.0
        if self.convolution.use_bias:
            bias = ops.convert_to_tensor(self.convolution.bias)
        if self.norm is None:
            return self._convolve(x, self._rounded(kernel)) + self._through_gate(bias)
        norm = self.norm
        gamma = 1.0 if norm.gamma is None else ops.convert_to_tensor(norm.gamma)
        beta = 0.0 if norm.beta is None else ops.convert_to_tensor(norm.beta)
        moving_mean, moving_variance = (ops.convert_to_tensor(v) for v in (norm.moving_mean, norm.moving_variance))
        deviation = ops.sqrt(moving_variance + norm.epsilon)
        factor = gamma / deviation
        folded = self._rounded(kernel * (factor[:, None] if self.depthwise else factor))
        y = self._convolve(x, folded)
        if not training or not norm.trainable:
            return y + self._through_gate(beta + (bias - moving_mean) * factor)
        mean, variance = self._statistics(x, kernel, bias)
        own_deviation = ops.sqrt(variance + norm.epsilon)
        return y * (deviation / own_deviation) + self._through_gate(beta + (bias - mean) * gamma / own_deviation)

    def _statistics(self, x: BackendTensor, kernel: BackendTensor, bias: BackendTensor) -> tuple[BackendTensor, BackendTensor]:
        """Returns the mean and variance of this step, of the batch or, once frozen, the moving ones; updates the moving ones."""
        norm = self.norm
        assert norm is not None
        frozen = self.steps >= self.freeze_after
        moving = ops.convert_to_tensor(norm.moving_mean), ops.convert_to_tensor(norm.moving_variance)

        def of_batch() -> tuple[BackendTensor, BackendTensor]:
            mean, variance = ops.moments(self._convolve(x, kernel) + bias, axes=[0, 1, 2], synchronized=norm.synchronized)
            return mean, variance

        if norm.synchronized:  # replicas cannot exchange values inside a branch
            mean, variance = (ops.where(frozen, old, new) for old, new in zip(moving, of_batch(), strict=True))
        else:
            mean, variance = ops.cond(frozen, lambda: moving, of_batch)
        keep = ops.where(frozen, 1.0, norm.momentum)
        for variable, old, new in zip((norm.moving_mean, norm.moving_variance), moving, (mean, variance), strict=True):
            variable.assign(old * keep + ops.stop_gradient(new) * (1.0 - keep))
        self.steps.assign(self.steps + 1.0)
        return mean, variance

    def _rounded(self, kernel: BackendTensor) -> BackendTensor:
        if self.gate:
            kernel = kernel / GATE_SLOPE
        return rounded_kernel(kernel, self.grid, channel_axis=2 if self.depthwise else len(kernel.shape) - 1)

    def _through_gate(self, bias: BackendTensor) -> BackendTensor:
        return (bias + GATE_OFFSET) / GATE_SLOPE if self.gate else bias

    def _convolve(self, x: BackendTensor, kernel: BackendTensor) -> BackendTensor:
        layer = self.convolution
        if isinstance(layer, keras.layers.Dense):
            return ops.matmul(x, kernel)
        convolve = ops.depthwise_conv if self.depthwise else ops.conv
        return convolve(
            x,
            kernel,
            strides=layer.strides,
            padding=self.padding or layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format="channels_last",
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the output of the convolution."""
        shape = tuple(self.convolution.compute_output_shape(input_shape))
        if self.padding is None or self.padding == self.convolution.padding:
            return shape
        sides = zip(input_shape[1:-1], self.convolution.kernel_size, self.convolution.strides, strict=True)
        same = self.padding == "same"
        return (shape[0], *(None if n is None else -(-(n if same else n - kernel + 1) // s) for n, kernel, s in sides), shape[-1])

    def get_config(self) -> dict[str, object]:
        """Returns the configuration for saving."""
        return {
            **super().get_config(),
            "convolution": keras.saving.serialize_keras_object(self.convolution),
            "norm": None if self.norm is None else keras.saving.serialize_keras_object(self.norm),
            "grid": self.grid,
            "gate": self.gate,
            "freeze_after": self.freeze_after,
            "padding": self.padding,
        }

    @classmethod
    def from_config(cls, config: dict[str, object]) -> FoldedConvolution:
        """Returns the layer of a configuration that `get_config` gave."""
        settings: dict[str, Any] = dict(config)
        for name in ("convolution", "norm"):
            if settings[name] is not None:
                settings[name] = keras.saving.deserialize_keras_object(settings[name])
        return cls(**settings)
