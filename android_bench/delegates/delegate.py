"""Delegates as data: flags, libraries, environment, formats, and the proof that a network ran on one.

A new delegate is a new entry in `delegates.table`, or in a file of a user's own (`delegates.catalogue.load_delegates`).
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from mhmodels.android_bench.errors import DelegateError

Tool: TypeAlias = Literal["benchmark_model", "benchmark_litert_model"]
FORMATS = ("float32", "float16", "int8", "uint8")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FLAG = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ACCELERATOR = re.compile(r"[\w.+@-]{1,80}", re.ASCII)
# Names or patterns in one folder, and paths on the device: nothing that leads elsewhere or that a shell interprets.
_FILE = re.compile(r"[\w.+*?\[\]-]*[\w*?][\w.+*?\[\]-]*", re.ASCII)
_PATH = re.compile(r"/[\w./+@-]+", re.ASCII)
# Flags that this package sets: with other values the latency would be of another network, another file or no run at all.
RESERVED = frozenset((
    "graph", "signature_to_run_for", "num_threads", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs",
    "run_delay", "run_frequency", "dry_run", "gpu_invoke_loop_times", "input_layer", "input_layer_shape",
    "input_layer_value_range", "input_layer_value_files", "output_filepath", "output_proto_filepath", "result_file_path",
    "enable_op_profiling", "export_model_runtime_info", "model_runtime_info_output_file", "list_signatures",
))  # fmt: skip


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Output of the tool that proves that its latency is that of the delegate. Anything that no field allows is not proof.

    Attributes:
        names: Names of the delegate in `Explicitly applied NAME delegate, …`; empty if the tool prints no such line.
        kernels: Patterns of its names in `Replacing X out of Y node(s) with delegate (NAME)`; empty for those that `names` imply.
        counted: Whether a line with one of the `kernels` is required too, because other delegates may have the same
            `names`.
        accelerators: Pattern of the names of NNAPI accelerators that are hardware. The tool must list the accelerators: one of
            this pattern, or the one that was asked for, and besides it only NNAPI's CPU reference. "" for other delegates.
        software: Pattern of parts of accelerators' names that mean software.
        must: Patterns that a line must match, each with the reason why the run does not count without it.
        never: Patterns that no line may match, each with the reason why the run does not count with it.
        may: Patterns of lines that mention a fallback and still leave the network on this delegate.
        plain: Whether no delegate may be applied. The proof is then the `must` lines, and no line that mentions a delegate.

    Example:
        >>> from mhmodels.android_bench import Proof
        >>> Proof(names=("EXTERNAL",), kernels=("MyDelegate",), counted=True).patterns
        ('MyDelegate', '', '$^')
    """

    names: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    counted: bool = False
    accelerators: str = ""
    software: str = r"$^"
    must: dict[str, str] = {}
    never: dict[str, str] = {}
    may: tuple[str, ...] = ()
    plain: bool = False

    @property
    def patterns(self) -> tuple[str, ...]:
        """All regular expressions of the proof."""
        return (*self.kernels, self.accelerators, self.software, *self.must, *self.never, *self.may)


class Delegate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A way to run a network on a phone.

    Attributes:
        id: Identifier: lower-case words and digits joined by hyphens.
        title: Name in tables.
        tool: Program that runs the delegate.
        formats: File formats that the delegate takes. `SERIAL/id` stands for the first, `SERIAL/id-FORMAT` for another one.
        flags: Flags of the tool; `{folder}` stands for the folder that `files` are pushed to.
        accelerator_flag: Flag that takes the ACCELERATOR of `id:ACCELERATOR`; "" if there is no choice of accelerators.
        files: Names or glob patterns of libraries that must be pushed, from the user's folder of libraries.
        environment: Environment variables; `{folder}` as in `flags`.
        libraries: Paths on the device of which at least one must exist; empty for none.
        platforms: Pattern of the model or platform names of the SoCs that it runs on; "" for any.
        min_sdk: First API level of Android that it runs on.
        deprecated_sdk: API level from which on it is deprecated; 0 for never.
        note: Remark for people, such as why it is deprecated.
        successor: Id of the delegate that replaces it, or "".
        proof: Output that proves that the delegate ran.

    Raises:
        DelegateError: A field is wrong; the message names it.

    Example:
        >>> from mhmodels.android_bench import Delegate, PhoneRunner, PhoneRunnerOptions, Proof
        >>> mine = Delegate(id="mine", title="My NPU", formats=("int8",), flags={"external_delegate_path": "{folder}/libmine.so"},
        ...                 files=("libmine.so",), proof=Proof(names=("EXTERNAL",), kernels=("MyDelegate",)))
        >>> PhoneRunner(PhoneRunnerOptions(delegates=(mine,))).find("0A1B2C3D/mine").format
        'int8'
    """

    id: str
    title: str
    formats: tuple[str, ...]
    proof: Proof
    tool: Tool = "benchmark_model"
    flags: dict[str, str] = {}
    accelerator_flag: str = ""
    files: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    libraries: tuple[str, ...] = ()
    platforms: str = ""
    min_sdk: int = 21
    deprecated_sdk: int = 0
    note: str = ""
    successor: str = ""

    def __post_init__(self) -> None:
        where = f"delegate '{self.id}'"
        if not _ID.fullmatch(self.id):
            raise DelegateError(f"{where}: field 'id' must be lower-case words and digits joined by '-'")
        if any(self.id.endswith(f"-{name}") for name in FORMATS):
            raise DelegateError(f"{where}: field 'id' ends like a format ({', '.join(FORMATS)}), which is written after it")
        wrong = [name for name in self.formats if name not in FORMATS]
        if wrong or not self.formats:
            raise DelegateError(f"{where}: field 'formats' is {self.formats!r}, expected some of {', '.join(FORMATS)}")
        self._check_words(where)
        for pattern in (*self.proof.patterns, self.platforms):
            try:
                re.compile(pattern)
            except re.error as error:
                raise DelegateError(f"{where}: pattern '{pattern}' is not a regular expression ({error})") from error
        if not (self.proof.plain or self.proof.names or self.proof.kernels):
            raise DelegateError(f"{where}: field 'proof' needs names, kernels or plain: without proof no run can count")

    def _check_words(self, where: str) -> None:
        """Refuses text that a shell, a folder or the tool would take for something else."""
        for name in (*self.flags, *((self.accelerator_flag,) if self.accelerator_flag else ())):
            if not _FLAG.fullmatch(name):
                raise DelegateError(f"{where}: field 'flags' has '{name}', expected a flag's name without dashes")
            if name.replace("-", "_") in RESERVED:
                raise DelegateError(f"{where}: field 'flags' has '{name}', which is the harness's own; leave it out")
        for field, words, shape, expected in (
            ("environment", self.environment, _VARIABLE, "the name of a variable"),
            ("files", self.files, _FILE, "a name or pattern without folders, such as libmine*.so"),
            ("libraries", self.libraries, _PATH, "an absolute path on the device"),
        ):
            for word in words:
                if not shape.fullmatch(word):
                    raise DelegateError(f"{where}: field '{field}' has {word!r}, expected {expected}")
        for text in (self.title, self.note, *self.flags.values(), *self.environment.values()):
            if not text.isprintable():
                raise DelegateError(f"{where}: {text!r} holds a control character")


class DelegateChoice(NamedTuple):
    """A delegate, the accelerator behind it (or ""), and the format of the files."""

    delegate: Delegate
    accelerator: str
    format: str

    @property
    def id(self) -> str:
        """Identifier in hardware ids, such as `nnapi:google-edgetpu` or `xnnpack-int8`."""
        name = f"{self.delegate.id}:{self.accelerator}" if self.accelerator else self.delegate.id
        return name if self.format == self.delegate.formats[0] else f"{name}-{self.format}"

    def flags(self, folder: str) -> dict[str, str]:
        """Flags of the tool, with the folder of the pushed files filled in."""
        flags = {name: value.replace("{folder}", folder) for name, value in self.delegate.flags.items()}
        return {**flags, self.delegate.accelerator_flag: self.accelerator} if self.accelerator else flags

    def environment(self, folder: str) -> dict[str, str]:
        """Environment variables, with the folder of the pushed files filled in."""
        return {name: value.replace("{folder}", folder) for name, value in self.delegate.environment.items()}
