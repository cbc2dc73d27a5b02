"""An interpreter of the few pickle operations that describe tensors, which imports and calls nothing.

A pickle can call any function. Nothing here unpickles: `pickletools` splits a pickle into its operations and runs none. This
module knows the names of tensors' parts, and refuses every other name before anything is made of it.
"""

from __future__ import annotations

import math
import pickletools
import struct
from collections.abc import Callable
from typing import IO, Any, NamedTuple, cast

from mhmodels.weights.sources.pytorch.limits import MOST_DIMENSIONS, MOST_TENSORS

STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
"""Classes of storages by the type of their values."""

TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
WRAPPERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
DICTIONARY = "collections.OrderedDict"
SIZE = "torch.Size"
ALLOWED = frozenset((*STORAGES, *TENSORS, *WRAPPERS, DICTIONARY, SIZE))
"""Names that a pickle may mention."""

ADVICE = (
    "expected tensors only; in a program that you trust, save the state dict alone: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


class PickleProblem(ValueError):
    """A description that is damaged, or names what is no tensor; the text does not name the file."""


class GlobalName(NamedTuple):
    """A class or function that a pickle mentions."""

    name: str


class TorchStorage(NamedTuple):
    """The values of one or several tensors.

    Attributes:
        key: Name of the values beside the description.
        dtype: NumPy's name of the type.
        values: Number of values.
    """

    key: str
    dtype: str
    values: int


class TorchTensor(NamedTuple):
    """A tensor: a part of a storage."""

    storage: TorchStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def last(self) -> int:
        """Index behind the last value in the storage."""
        return self.offset + sum((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True)) + 1


class BoundedReader:
    """The first bytes of a file, read as they are needed: a declared length of gigabytes allocates nothing.

    Args:
        file: The file, at its beginning.
        limit: Number of bytes that may be read.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._left = file, limit

    def read(self, size: int) -> bytes:
        """Returns the next bytes: fewer than asked for at the end of the file or of the limit."""
        content = self._file.read(max(0, min(size, self._left)))
        self._left -= len(content)
        return content

    def readline(self) -> bytes:
        """Returns the next line, with its end."""
        content = self._file.readline(self._left)
        self._left -= len(content)
        return content

    def tell(self) -> int:
        """Returns the place in the file."""
        return self._file.tell()


class Interpreter:
    """Interprets the operations of one pickle; it imports and calls nothing.

    Args:
        stream: Content from the beginning of the pickle; it stands behind the pickle afterwards.
    """

    def __init__(self, stream: BoundedReader) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.tensors = 0

    def run(self) -> object:
        """Returns what the pickle describes.

        Raises:
            PickleProblem: The pickle is damaged, or mentions a name that is not in `ALLOWED`.
        """
        try:
            for operation, argument, _ in pickletools.genops(cast("IO[bytes]", self.stream)):
                if operation.name == "STOP":
                    return self.stack.pop()
                step = OPERATIONS.get(operation.name)
                if step is None:
                    raise PickleProblem(f"it has the pickle operation {operation.name}; {ADVICE}")
                step(self, argument)
        except PickleProblem:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise PickleProblem(f"damaged or truncated description: {reason}; get it anew") from error
        raise PickleProblem("its description has no end; get it anew")

    def push(self, value: object) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def marked(self) -> list[Any]:
        """Takes the values since the last mark from the stack."""
        at = self.marks.pop()
        values = self.stack[at:]
        del self.stack[at:]
        return values

    def mention(self, name: str) -> None:
        """Puts a class or function on the stack, if its name is one of a tensor's parts."""
        if name not in ALLOWED:
            raise PickleProblem(f"it names {name[:120]!r}; {ADVICE}")
        self.push(GlobalName(name))

    def global_on_stack(self) -> None:
        """STACK_GLOBAL: module and name are the two values on top."""
        name, module = self.stack.pop(), self.stack.pop()
        self.mention(f"{module}.{name}")

    def call(self) -> None:
        """REDUCE: what the named function would make of its arguments, for the functions of tensors."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, GlobalName) or not isinstance(arguments, tuple):
            raise PickleProblem("a call of what is no function")
        if function.name == DICTIONARY:
            self.push(dict(arguments[0]) if arguments else {})
        elif function.name == SIZE:
            self.push(tuple(arguments[0]))
        elif function.name in TENSORS:
            self.push(self.tensor(*arguments[:4]))
        elif function.name in WRAPPERS:
            if not isinstance(arguments[0], TorchTensor):
                raise PickleProblem("a parameter that is no tensor")
            self.push(arguments[0])
        else:
            raise PickleProblem(f"it calls {function.name!r}; {ADVICE}")

    def tensor(self, storage: object, offset: object, shape: object, stride: object) -> TorchTensor:
        """Returns a tensor whose values lie inside its storage."""
        self.tensors += 1
        if self.tensors > MOST_TENSORS:
            raise PickleProblem(f"more than {MOST_TENSORS} tensors")
        numbers = [offset]
        if not isinstance(storage, TorchStorage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
            raise PickleProblem("a tensor without storage, shape or stride")
        numbers += [*shape, *stride]
        if len(shape) != len(stride) or len(shape) > MOST_DIMENSIONS or not all(type(n) is int and n >= 0 for n in numbers):
            raise PickleProblem(f"a tensor of shape {str(shape)[:80]} and stride {str(stride)[:80]}")
        made = TorchTensor(storage, int(str(offset)), shape, stride)
        if math.prod(shape) > storage.values or (math.prod(shape) and made.last > storage.values):
            raise PickleProblem(f"a tensor of shape {list(shape)} in a storage of {storage.values} values: damaged or hostile")
        return made

    def storage(self) -> None:
        """BINPERSID: the storage that a tuple on top describes."""
        described = self.stack.pop()
        if not isinstance(described, tuple) or len(described) not in (5, 6) or described[0] != "storage":
            raise PickleProblem("a reference to what is no storage")
        kind, key, count = described[1], described[2], described[4]
        if not isinstance(kind, GlobalName) or kind.name not in STORAGES or not isinstance(key, str):
            raise PickleProblem(f"a storage of type {str(kind)[:80]}")
        if type(count) is not int or not 0 <= count < 1 << 40 or (len(described) == 6 and described[5] is not None):
            raise PickleProblem(f"a storage of {str(count)[:40]} values")
        self.push(TorchStorage(key, STORAGES[kind.name], count))

    def build(self) -> None:
        """BUILD: the attributes of an object, which only dictionaries have here (the versions of a state dict)."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise PickleProblem("an object with attributes; " + ADVICE)

    def set_items(self, pairs: list[Any]) -> None:
        """Puts keys and values, which alternate, into the dictionary on top."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise PickleProblem("entries of what is no dictionary")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def append_items(self, values: list[Any]) -> None:
        """Puts values at the end of the list on top."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise PickleProblem("entries of what is no list")
        target.extend(values)

    def to_tuple(self, count: int) -> None:
        """Makes a tuple of so many values on top."""
        values = tuple(self.stack[-count:])
        if len(values) < count:
            raise PickleProblem("a tuple of more values than there are")
        self.stack[-count:] = [values]

    def pair(self) -> list[Any]:
        """Takes a key and a value from the stack."""
        value, key = self.stack.pop(), self.stack.pop()
        return [key, value]

    def remember(self, at: int) -> None:
        """Keeps the value on top for later mention."""
        self.memo[at] = self.stack[-1]


def _constant(value: object) -> Callable[[Interpreter, Any], None]:
    return lambda machine, _: machine.push(value)


OPERATIONS: dict[str, Callable[[Interpreter, Any], None]] = {
    "PROTO": lambda _machine, _: None,
    "FRAME": lambda _machine, _: None,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    **dict.fromkeys(
        (
            "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
            "SHORT_BINSTRING", "BINSTRING",
        ),
        lambda machine, value: machine.push(value),
    ),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.to_tuple(1),
    "TUPLE2": lambda machine, _: machine.to_tuple(2),
    "TUPLE3": lambda machine, _: machine.to_tuple(3),
    "APPEND": lambda machine, _: machine.append_items([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append_items(machine.marked()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pair()),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "BINPUT": lambda machine, at: machine.remember(at),
    "LONG_BINPUT": lambda machine, at: machine.remember(at),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "BINGET": lambda machine, at: machine.push(machine.memo[at]),
    "LONG_BINGET": lambda machine, at: machine.push(machine.memo[at]),
    "GLOBAL": lambda machine, name: machine.mention(str(name).replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.global_on_stack(),
    "REDUCE": lambda machine, _: machine.call(),
    "BINPERSID": lambda machine, _: machine.storage(),
    "BUILD": lambda machine, _: machine.build(),
}  # fmt: skip
"""Pickle operations of descriptions of tensors. A pickle with any other is refused."""
