"""State dicts of PyTorch packages without PyTorch: reference networks, and files as `torch.save` writes them."""

from __future__ import annotations

import collections
import importlib.util
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

DATA = Path(__file__).parents[3] / "shared" / "data" / "torch_refs"
REFERENCES = sorted(path.stem for path in DATA.glob("*.json"))
Tensors = dict[str, NDArray[Any]]

needs_references = pytest.mark.skipif(not REFERENCES, reason="../shared/data/torch_refs is not part of a clone")

DRAWN = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def reference(name: str) -> dict[str, Any]:
    """A reference network: its tensors' names and shapes, and its logits in float64."""
    return cast("dict[str, Any]", json.loads((DATA / f"{name}.json").read_text()))


def drawn(name: str) -> Tensors:
    """The weights of a reference network, as `draw.py` beside it repeats them."""
    spec = importlib.util.spec_from_file_location("draw", DATA / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = reference(name)
    return cast("Tensors", module.draw(data["entries"], data["seed"]))


class TensorStandIn:
    """What `torch.save` makes of a tensor: a call that rebuilds it from a storage."""

    def __init__(self, array: NDArray[Any], key: str, parameter: bool = False) -> None:
        self.array, self.key, self.parameter = np.ascontiguousarray(array), key, parameter

    def __reduce__(self) -> Any:
        utilities = sys.modules["torch._utils"]
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        parts = (StorageStandIn(self), 0, self.array.shape, strides, False, collections.OrderedDict())
        if self.parameter:
            return utilities._rebuild_parameter, (TensorStandIn(self.array, self.key), False, collections.OrderedDict())
        return utilities._rebuild_tensor_v2, parts


class StorageStandIn:
    """The values of a tensor."""

    def __init__(self, tensor: TensorStandIn) -> None:
        self.tensor = tensor


class TorchPickler(pickle.Pickler):
    """Writes storages by reference, as `torch.save` does."""

    def __init__(self, stream: io.BytesIO, legacy: bool) -> None:
        super().__init__(stream, protocol=2)
        self.legacy = legacy

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, StorageStandIn):
            return None
        array = value.tensor.array
        kind = getattr(sys.modules["torch"], DRAWN[array.dtype.name])
        return ("storage", kind, value.tensor.key, "cpu", array.size, *((None,) if self.legacy else ()))


@contextmanager
def _torch() -> Iterator[None]:
    """Modules by the names that the pickles mention, while they are written."""
    torch, utilities = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in DRAWN.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        exec(f"def {name}(*_): raise AssertionError", utilities.__dict__)
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utilities})
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def pickled(content: Any, *, legacy: bool = False) -> bytes:
    """A description with tensors by reference."""
    stream = io.BytesIO()
    TorchPickler(stream, legacy).dump(content)
    return stream.getvalue()


def stand_ins(tensors: Mapping[str, NDArray[Any]], *, parameters: bool = False, first: int = 0) -> dict[str, TensorStandIn]:
    """A state dict of tensors, each with a storage of its own."""
    return collections.OrderedDict(
        (name, TensorStandIn(array, str(first + i), parameters)) for i, (name, array) in enumerate(tensors.items())
    )


def write_zip(path: Path, content: Any, change: Callable[[dict[str, bytes]], None] = lambda _: None) -> Path:
    """A file as `torch.save` writes it since PyTorch 1.6."""
    with _torch():
        members = {"data.pkl": pickled(content), "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{tensor.key}": tensor.array.tobytes() for tensor in _tensors(content)}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, member in members.items():
            archive.writestr(f"archive/{name}", member)
    return path


def write_legacy(path: Path, content: Any) -> Path:
    """A file as `torch.save` wrote it before PyTorch 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with _torch():
        head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
        body = pickled(content, legacy=True)
    tensors = {tensor.key: tensor.array for tensor in _tensors(content)}
    values = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in tensors.values())
    path.write_bytes(b"".join((*head, body, pickle.dumps(list(tensors), 2))) + values)
    return path


def _tensors(content: Any) -> Iterator[TensorStandIn]:
    if isinstance(content, TensorStandIn):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _tensors(value)
