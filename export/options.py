"""What a user asks of an export besides the network, and what the files are called."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.outputs import WriterOptions
from mhmodels.export.quantisation.calibration import check_method
from mhmodels.export.quantisation.scheme import Granularity
from mhmodels.export.reading.stated_rule import StatedRule
from mhmodels.export.writing.labels import NO_LABELS, OutputLabels
from mhmodels.export.writing.manifest import manifest_path
from mhmodels.export.writing.writer import InterfaceType
from mhmodels.system.files import try_place
from mhmodels.tflite.format import FileFormat

Engine: TypeAlias = Literal["direct", "tensorflow"]

INTEGER_FORMATS = ("int8", "uint8")


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to export besides the network.

    Attributes:
        io: element type of input and output of int8 files; uint8 files always have uint8, float files float32.
        weights: a weights file, or a registered name; None for seeded random weights.
        calibration: folder of pictures; None for the bundled photographs.
        calibration_method: how ranges follow from pictures: one of `calibration.check_method`'s, or `auto`; None is min-max.
        granularity: of int8 weights' scales.
        preprocessing: what the user states of the pictures; None where the network, its weights or its layers say it.
        normalise_in_model: files take raw pixels from 0 to 255, and a 1x1 depthwise convolution normalises them.
        labels: what the scores mean; with none, what the weights file says.
        metadata: whether files carry tflite-support's metadata; None: where there are labels.
    """

    directory: Path
    formats: tuple[FileFormat, ...] = ("float32",)
    io: InterfaceType = "uint8"
    weights: str | Path | None = None
    calibration: Path | None = None
    calibration_method: str | None = None
    granularity: Granularity | None = None
    writer: WriterOptions = WriterOptions()
    engine: Engine = "direct"
    preprocessing: StatedRule | None = None
    normalise_in_model: bool = False
    labels: OutputLabels = NO_LABELS
    metadata: bool | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuses what does not go together, before anything is built.

        Raises:
            ExportError: an option that the engine or the format does not have; the message names it.
        """
        if self.calibration_method not in (None, "auto"):
            check_method(self.calibration_method)
        refused = {
            "--pooling avgpool": self.writer.pooling != "mean",
            "--no-softmax": not self.writer.softmax,
            "--features": self.writer.features,
            "--normalise-in-model": self.normalise_in_model,
        }
        if self.engine == "tensorflow" and any(refused.values()):
            named = ", ".join(option for option, wanted in refused.items() if wanted)
            raise ExportError(f"{named}: only the direct engine does that; leave out --engine tensorflow")
        if self.writer.features and not self.writer.softmax:
            raise ExportError("--no-softmax with --features: feature maps have no softmax; give one of them")
        if self.writer.features and self.labels.names:
            raise ExportError("--labels with --features: feature maps have no classes to name; give one of them")
        if self.granularity is not None and "int8" not in self.formats:
            raise ExportError("--granularity is of int8 files, and int8 is not among the formats: add --format int8")


def file_name(architecture: Architecture, fmt: str, options: ExportOptions) -> str:
    """NAME_wW_SIZE_FORMAT[-feat][-avgpool][-pt][-nosm].tflite."""
    height, width = architecture.input_size
    size = f"{height}" if height == width else f"{height}x{width}"
    marks = [
        ("-feat", options.writer.features),
        ("-avgpool", options.writer.pooling == "avgpool"),
        ("-pt", fmt == "int8" and options.granularity == "tensor"),
        ("-nosm", not options.writer.softmax),
    ]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in architecture.name)
    return f"{name}_w{architecture.width_multiplier:g}_{size}_{fmt}{''.join(mark for mark, on in marks if on)}.tflite"


def target_paths(architecture: Architecture, options: ExportOptions, taken: set[Path]) -> dict[FileFormat, Path]:
    """Where the files of a network go.

    Args:
        architecture: at its width and input size.
        options: formats, folder, whether files may be replaced.
        taken: paths of networks exported before in the same call; the new ones are added.

    Raises:
        ExportError: a file or its manifest exists already, would overwrite one of this call, or the folder cannot be written to.
    """
    paths = {fmt: options.directory / file_name(architecture, fmt, options) for fmt in options.formats}
    for path in paths.values():
        if path in taken:
            raise ExportError(f"{path}: two of the networks would be written to this file; export them to different folders")
        existing = next((one for one in (path, manifest_path(path)) if one.exists()), None)
        if existing is not None and not options.overwrite:
            # The name carries neither --io, --classes nor --normalise-in-model, so this may well be another file.
            raise ExportError(f"{existing}: exists already; give --overwrite to replace it, or another folder with -o")
        _check_place(manifest_path(path))  # the longer of the two names
    taken.update(paths.values())
    return paths


def _check_place(path: Path) -> None:
    try:
        try_place(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror}); give another folder with -o") from error
