"""Random weights of any network, and TensorFlow checkpoints of them as TF Model Garden's trainers lay them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.network import LOGITS, lower
from mhmodels.weights.info import Arrays
from mhmodels.weights.matching import targets

# What TF Model Garden's blocks call the convolution and the normalisation of each of our operations.
INVERTED = {"expand": ("_conv0", "_norm0"), "depthwise": ("_conv1", "_norm1"), "project": ("_conv2", "_norm2"),
            "fused": ("_conv0", "_norm0"), "reduce": ("_se_reduce", ""), "gate": ("_se_expand", "")}  # fmt: skip
SEPARABLE = {"depthwise": ("_dwconv0", "_norm0"), "project": ("_conv1", "_norm1")}
UNIVERSAL = {"start": ("_start_dw_conv", "_start_dw_norm"), "expand": ("_expand_conv", "_expand_norm"),
             "depthwise": ("_middle_dw_conv", "_middle_dw_norm"), "project": ("_proj_conv", "_proj_norm")}  # fmt: skip
CONV = {"conv": ("_conv0", "_norm0")}
ATTRIBUTES = {
    "conv": CONV,
    "separable": SEPARABLE,
    "inverted_bottleneck": INVERTED,
    "fused_inverted_bottleneck": INVERTED,
    "universal_inverted_bottleneck": UNIVERSAL,
}


def random_arrays(architecture: Architecture, seed: int = 0, *, top: bool = True, classifier: bool = True) -> Arrays:
    """Every array of a network, different in every element; variances positive."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for target in targets(architecture, top=top, classifier=classifier):
        for role, shape in target.shapes.items():
            values = rng.uniform(0.5, 1.5, shape) if role == "moving_variance" else rng.normal(0, 0.3, shape)
            arrays[target.name, role] = values.astype(np.float32)
    return arrays


def _blocks(architecture: Architecture) -> list[tuple[str, str]]:
    """(operation prefix, block type) in order, without the classifier."""
    blocks = [*architecture.stem, *(block for stage in architecture.stages for block in stage), *architecture.head.features]
    types = [block.type_name for block in (*blocks, *architecture.head.hidden)]
    prefixes = []
    for op in lower(architecture).ops:
        prefix = op.name.rpartition("_")[0]
        if prefix and prefix not in prefixes:
            prefixes.append(prefix)
    return list(zip(prefixes, types, strict=True))


def backbone(architecture: Architecture, arrays: Arrays) -> Any:
    """The object tree of TF Model Garden's `MobileNet` with these weights in it."""
    import tensorflow as tf

    model = tf.Module()
    ops = lower(architecture).ops
    for index, (prefix, block_type) in enumerate(_blocks(architecture)):
        block = tf.Module()
        setattr(model, f"layer-{2 * index}", tf.Module())
        setattr(model, f"layer_with_weights-{index}", block)
        setattr(model, f"layer-{2 * index + 1}", block)
        if block_type == "inverted_bottleneck" and not any(op.name == f"{prefix}_expand" for op in ops):
            block._conv0, block._norm0 = tf.Module(), tf.Module()  # made, never called, so without variables
        for op in ops:
            before, _, suffix = op.name.rpartition("_")
            if before != prefix or op.kind not in ("conv", "depthwise"):
                continue
            conv, norm = ATTRIBUTES[block_type][suffix]
            owner = block
            if conv.startswith("_se"):
                if not hasattr(block, "_squeeze_excitation"):
                    block._squeeze_excitation = tf.Module()
                owner = block._squeeze_excitation
            kernel = "depthwise_kernel" if op.kind == "depthwise" else "kernel"
            setattr(owner, conv, _layer(op.name, {kernel: "kernel", "bias": "bias"}, arrays))
            if norm:
                roles = {role: role for role in ("gamma", "beta", "moving_mean", "moving_variance")}
                setattr(owner, norm, _layer(f"{op.name}_bn", roles, arrays))
        block._add = tf.Module()
    return model


def _layer(name: str, roles: dict[str, str], arrays: Arrays) -> Any:
    import tensorflow as tf

    layer = tf.Module()
    for attribute, role in roles.items():
        if (name, role) in arrays:
            setattr(layer, attribute, tf.Variable(arrays[name, role], trainable=not role.startswith("moving")))
    return layer


def classifier(body: Any, arrays: Arrays) -> Any:
    """The object tree of TF Model Garden's `ClassificationModel` around a backbone: a dense layer on top."""
    import tensorflow as tf

    model = tf.Module()
    setattr(model, "layer-0", tf.Module())
    setattr(model, "layer_with_weights-0", body)
    setattr(model, "layer-1", body)
    dense = tf.Module()
    dense.kernel = tf.Variable(arrays[LOGITS, "kernel"][0, 0])
    dense.bias = tf.Variable(arrays[LOGITS, "bias"])
    setattr(model, "layer_with_weights-1", dense)
    model._backbone = body
    return model


def save(prefix: Path, **items: Any) -> str:
    """Writes a checkpoint of these objects."""
    import tensorflow as tf

    return str(tf.train.Checkpoint(**items).write(str(prefix)))


def write_checkpoint(prefix: Path, architecture: Architecture, arrays: Arrays, **items: Any) -> str:
    """A classification checkpoint as TF Model Garden's trainer writes it, with further items such as an optimizer."""
    body = backbone(architecture, arrays)
    return save(prefix, model=classifier(body, arrays), backbone=body, **items)


def optimizer(model: Any, *, averages: bool) -> Any:
    """An optimizer with a slot (and a moving average: the variable plus 1) for each trainable variable, and a counter."""
    import tensorflow as tf

    slots = {}
    for variable in model.trainable_variables:
        slots[id(variable), "rms"] = tf.Variable(tf.zeros_like(variable))
        if averages:
            slots[id(variable), "average"] = tf.Variable(variable + 1.0)

    class Optimizer(tf.Module):  # type: ignore[misc]
        def get_slot_names(self) -> list[str]:
            return ["average", "rms"]

        def get_slot(self, variable: Any, name: str) -> Any:
            return slots.get((id(variable), name))

    made = Optimizer()
    made.iterations = tf.Variable(1234, dtype=tf.int64)
    return made
