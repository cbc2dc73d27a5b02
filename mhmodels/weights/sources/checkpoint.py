"""TensorFlow checkpoints of Keras models (TF Model Garden's and any other with an object graph), read by structure.

Such a checkpoint stores, beside the arrays, the graph of the objects that held them: which attribute of which object is
which variable. A Keras model lists its layers as `layer_with_weights-N` in order of execution, and a block's attributes
come in the order in which its constructor made them, which in TF Model Garden's blocks is the order of execution, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mhmodels.errors import WeightsError
from mhmodels.system.files import open_regular, read_bytes
from mhmodels.system.quiet import load_tensorflow
from mhmodels.weights.sources.source import Layer, Part, Variable, WeightsSource, layer_of

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
LAYER_PREFIX = "layer_with_weights-"
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
SLOT_MARK = "/.OPTIMIZER_SLOT/"
TRAINING = ("optimizer", "save_counter", "global_step", "keras_api", "train_loss", "validation_loss")
STEP_KEYS = ("global_step", "optimizer/iterations", "optimizer/_iterations", "optimizer/iter")
LARGEST_STATE = 4 << 20
AVERAGE_SLOT = "average"
READ_ERRORS = (ValueError, RuntimeError, LookupError, TypeError)
"""What TensorFlow's reader raises for broken files, besides its own errors."""


class _Reader(Protocol):
    """TensorFlow's reader of a checkpoint."""

    def get_tensor(self, tensor_str: str) -> NDArray[np.generic]: ...

    def get_variable_to_shape_map(self) -> dict[str, list[int]]: ...

    def get_variable_to_dtype_map(self) -> dict[str, tf.DType]: ...


def find_checkpoint(path: str | os.PathLike[str]) -> str | None:
    """Returns the prefix of the checkpoint that a path stands for, or None if it is no checkpoint.

    Args:
        path: A prefix (`ckpt-1000`), one of its files (`ckpt-1000.index`), or a folder: the latest that its `checkpoint` file
            names, else its only one.

    Raises:
        WeightsError: The folder has several checkpoints and nothing that says which is the latest.
    """
    text = os.fspath(path)
    if Path(f"{text}.index").is_file():
        return text
    if Path(text).is_file():
        for mark in (".index", ".data-"):
            prefix, found, _ = text.rpartition(mark)
            if found and (mark == ".data-" or text.endswith(mark)):
                return prefix
        return None
    if not Path(text).is_dir():
        return None
    prefixes = sorted(str(entry)[: -len(".index")] for entry in Path(text).glob("*.index"))
    latest = _latest(Path(text))
    if latest is not None or len(prefixes) == 1:
        return latest or prefixes[0]
    if prefixes:
        raise WeightsError(
            f"{text}: {len(prefixes)} checkpoints and no file 'checkpoint' that names the latest; give one of them, for "
            f"example {prefixes[-1]}"
        )
    return None


def _latest(folder: Path) -> str | None:
    """Returns the checkpoint that TensorFlow's bookkeeping file calls the latest, if it is here."""
    state = folder / "checkpoint"
    if not state.is_file():
        return None
    for line in read_bytes(state, LARGEST_STATE).decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model_checkpoint_path":
            prefix = folder / value.strip().strip('"')
            return str(prefix) if Path(f"{prefix}.index").is_file() else None
    return None


def read_checkpoint(prefix: str) -> WeightsSource:
    """Reads names, shapes and structure of a checkpoint; arrays are read when their variable is.

    Args:
        prefix: The path without `.index`.

    Raises:
        WeightsError: Corrupt, truncated, incomplete, or without an object graph.
    """
    reader, graph = _open(prefix)
    shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items() if name != GRAPH_KEY}
    dtypes = {name: dtype.name for name, dtype in reader.get_variable_to_dtype_map().items()}
    variables = {name: _variable(prefix, reader, name, shapes[name], dtypes[name]) for name in shapes}
    tree = _Tree(graph, variables)
    training = tuple(sorted(name for name in shapes if _is_training_state(name)))
    return WeightsSource(
        path=prefix,
        kind="TensorFlow checkpoint",
        parts=tuple(tree.parts()),
        variables=tuple(sorted(set(shapes) - set(training))),
        training_state=training,
        averages=tree.averages(),
        step=_step(variables),
        origin="tf_model_garden",
    )


def _open(prefix: str) -> tuple[_Reader, TrackableObjectGraph]:
    """Returns TensorFlow's reader and the object graph."""
    shards = list(Path(prefix).parent.glob(f"{Path(prefix).name}.data-*"))
    if not shards:
        raise WeightsError(f"{prefix}: its data file ({prefix}.data-00000-of-…) is missing; copy it beside the .index file")
    for file in (Path(f"{prefix}.index"), *shards):
        open_regular(file).close()  # TensorFlow would wait for a named pipe without end
    load_tensorflow()
    import tensorflow as tf
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    try:
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        if GRAPH_KEY in names:
            graph.ParseFromString(reader.get_tensor(GRAPH_KEY))
    except (tf.errors.OpError, *READ_ERRORS, DecodeError) as error:
        raise _unreadable(prefix, error) from error
    if GRAPH_KEY not in names:
        raise WeightsError(
            f"{prefix}: no object graph, so a checkpoint of TensorFlow 1 or slim ({len(names)} variables by name); expected "
            "one that tf.train.Checkpoint wrote, as TF Model Garden's trainers do"
        )
    return reader, graph


def _unreadable(prefix: str, error: Exception) -> WeightsError:
    reason = (str(getattr(error, "message", "") or error).splitlines() or [type(error).__name__])[0][:200]
    return WeightsError(
        f"{prefix}: cannot be read as a TensorFlow checkpoint, it is corrupt or truncated ({reason}); copy it anew"
    )


def _variable(prefix: str, reader: _Reader, name: str, shape: tuple[int, ...], dtype: str) -> Variable:
    def read() -> NDArray[np.generic]:
        """The array, when it is wanted."""
        import tensorflow as tf

        try:
            return reader.get_tensor(name)
        except (tf.errors.OpError, *READ_ERRORS) as error:
            raise _unreadable(prefix, error) from error

    return Variable(name, shape, dtype, read)


def _is_training_state(name: str) -> bool:
    return SLOT_MARK in name or name.split("/", 1)[0] in TRAINING or "/keras_api/" in name or "/optimizer/" in name


def _step(variables: dict[str, Variable]) -> int | None:
    for key in STEP_KEYS:
        counter = variables.get(f"{key}{VALUE_SUFFIX}")
        if counter is not None and counter.shape == ():
            return int(counter.read())
    return None


class _Tree:
    """The object graph of a checkpoint: children by attribute, and the variable that a node is."""

    def __init__(self, graph: TrackableObjectGraph, variables: dict[str, Variable]) -> None:
        count = len(graph.nodes)
        self.graph = graph
        self.children: list[list[tuple[str, int]]] = [
            [(child.local_name, child.node_id) for child in node.children if 0 <= child.node_id < count] for node in graph.nodes
        ]
        self.variable: list[Variable | None] = []
        for node in graph.nodes:
            keys = [attribute.checkpoint_key for attribute in node.attributes if attribute.name == "VARIABLE_VALUE"]
            self.variable.append(variables.get(keys[0]) if keys else None)

    def parts(self) -> Iterator[Part]:
        """Returns every Keras model in the graph, outermost first; a model with several attributes comes once."""
        seen, queue = {0}, [(0, "")]
        for node, name in queue:
            if any(child.startswith(LAYER_PREFIX) for child, _ in self.children[node]):
                yield Part(name or "checkpoint", tuple(self.layers(node)))
            for child, at in self.children[node]:
                if at not in seen and child not in TRAINING:
                    seen.add(at)
                    queue.append((at, f"{name}/{child}" if name else child))

    def layers(self, root: int) -> Iterator[Layer]:
        """Layers with variables below a node, depth first in the order of its attributes."""
        seen: set[int] = set()
        stack = [(root, "")]
        while stack:
            node, name = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            own = {child: variable for child, at in self.children[node] if (variable := self.variable[at]) is not None}
            if own:
                yield layer_of(name, own)
            inner = [(at, f"{name}/{child}" if name else child) for child, at in self._inner(node)]
            stack += reversed(inner)

    def _inner(self, node: int) -> list[tuple[str, int]]:
        """A model's layers in order; any other object's attributes as they come, but for training state."""
        children = self.children[node]
        layers = [(int(name[len(LAYER_PREFIX) :]), name, at) for name, at in children if _is_layer(name)]
        if layers:
            return [(name, at) for _, name, at in sorted(layers)]
        return [(name, at) for name, at in children if name not in TRAINING]

    def averages(self) -> dict[str, Variable]:
        """Returns moving averages by the names of their variables."""
        found = {}
        for node in self.graph.nodes:
            for slot in node.slot_variables:
                if slot.slot_name != AVERAGE_SLOT or max(slot.original_variable_node_id, slot.slot_variable_node_id) >= len(
                    self.variable
                ):
                    continue
                original = self.variable[slot.original_variable_node_id]
                average = self.variable[slot.slot_variable_node_id]
                if original is not None and average is not None:
                    found[original.name] = average
        return found


def _is_layer(name: str) -> bool:
    return name.startswith(LAYER_PREFIX) and name[len(LAYER_PREFIX) :].isdecimal()
