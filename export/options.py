"""Options of an export: everything that a user states besides the model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec

from mhmodels.export.errors import ExportError
from mhmodels.export.formats import EXPORT_FORMATS, INTEGER_FORMATS, ExportFormat, is_onnx, number_formats
from mhmodels.export.graph.outputs import WriterOptions
from mhmodels.export.quantisation.calibration import check_method
from mhmodels.export.quantisation.parameters import Granularity, WeightRounding
from mhmodels.export.quantisation.post_training import Corrections
from mhmodels.export.writing.labels import NO_LABELS, OutputLabels
from mhmodels.export.writing.onnx.tools import check_onnx_tools
from mhmodels.export.writing.writer import InterfaceType
from mhmodels.hardware.placement.socs import get_placement_socs
from mhmodels.hardware.tools.catalogue import QUALCOMM
from mhmodels.hardware.tools.environment import missing

Engine: TypeAlias = Literal["direct", "tensorflow"]
"""What writes files: the writer of this package, or TensorFlow's converter."""


FEWEST_FOR_AUTO = 32
"""Pictures of a user's folder from which on the calibration method is chosen by held-out pictures."""


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an export.

    Attributes:
        directory: Folder to write the files to; it is created if it does not exist.
        formats: Formats to write, one file for each. Formats that begin with `onnx-` are ONNX files, which need the packages of
            the extra `onnx`; the others are TFLite files.
        io: Element type of the input and output of int8 and onnx-int8 files. Files of uint8 formats always take and
            give uint8, float files float32.
        calibration: Folder of pictures that determine the value ranges of integer formats. None for the bundled photographs.
        calibration_method: Method that computes value ranges from the pictures: `min-max`, `moving-average`, `percentile-P`
            with P from 50 to below 100, or `auto` for the best of these on held-out pictures. None for `auto` on a folder of 32
            pictures or more, else for `min-max`.
        equalise: Whether to equalise the ranges of weights across the layers of integer files. None for the choice with the
            smaller error on held-out pictures if the calibration method is `auto`, else False.
        bias_correction: Whether to correct the mean error that rounding causes in each channel. None as for `equalise`.
        rounding: How weights become integers: `nearest`, or `compensated`, where later weights compensate the rounding errors
            of earlier ones. None as for `equalise`, without `auto` `nearest`.
        granularity: One scale of int8 weights per output `channel` or per `tensor`. None for `channel`.
        writer: Operator of the global pooling, softmax, feature maps.
        engine: Program that writes the files: `direct` (the writer of mhmodels) or `tensorflow` (TensorFlow's converter).
        normalise_in_model: Whether files take raw pixels from 0 to 255, which a 1x1 depthwise convolution normalises.
        labels: Class names of the outputs. If it is empty, the class names in the weights file are used.
        metadata: Whether to write the metadata of tflite-support into the TFLite files. None to write them if there are labels.
        overwrite: Whether to replace existing files.
        aot: SoCs (such as SM8650, see `mhmodels.hardware.PLACEMENT_SOCS`) to compile each TFLite file for. The compiled file is
            written beside it if the NPU of the SoC runs the network as a whole; the manifest says so either way.

    Example:
        >>> ExportOptions(directory=Path("out"), formats=("float32", "int8"), io="int8").check()
    """

    directory: Path
    formats: tuple[ExportFormat, ...] = ("float32",)
    io: InterfaceType = "uint8"
    calibration: Path | None = None
    calibration_method: str | None = None
    equalise: bool | None = None
    bias_correction: bool | None = None
    rounding: WeightRounding | None = None
    granularity: Granularity | None = None
    writer: WriterOptions = WriterOptions()
    engine: Engine = "direct"
    normalise_in_model: bool = False
    labels: OutputLabels = NO_LABELS
    metadata: bool | None = None
    overwrite: bool = False
    aot: tuple[str, ...] = ()

    def method_for(self, pictures: int) -> str:
        """Returns the calibration method for a number of calibration pictures."""
        if self.calibration_method is not None:
            return self.calibration_method
        return "auto" if self.calibration is not None and pictures >= FEWEST_FOR_AUTO else "min-max"

    def check(self) -> None:
        """Rejects options that do not go together, before anything is built.

        Raises:
            ExportError: The engine or the format does not support an option; the message names the field.
        """
        _check_words(self)
        if self.calibration_method not in (None, "auto"):
            check_method(self.calibration_method)
        self._check_onnx()
        self._check_aot()
        refused = {
            "argument 'pooling=avgpool'": self.writer.pooling != "mean",
            "argument 'softmax=False'": not self.writer.softmax,
            "argument 'features'": self.writer.features,
            "argument 'normalise_in_model'": self.normalise_in_model,
        }
        if self.engine == "tensorflow" and any(refused.values()):
            named = ", ".join(field for field, wanted in refused.items() if wanted)
            raise ExportError(f"{named}: only the direct engine does that; leave out argument 'engine=tensorflow'")
        if self.writer.features and not self.writer.softmax:
            raise ExportError("argument 'softmax=False' with argument 'features': feature maps have no softmax; give one of them")
        if self.writer.features and self.labels.names:
            raise ExportError(
                "argument 'labels' with argument 'features': feature maps have no classes to name; give one of them"
            )
        wanted = Corrections(self.equalise, self.bias_correction, self.rounding).stated()
        if wanted and not number_formats(self.formats) & set(INTEGER_FORMATS):
            raise ExportError(
                f"{', '.join(wanted)}: corrects integer files, and neither int8 nor uint8 is among the formats: add argument "
                "'formats=int8' or 'formats=uint8'"
            )
        if self.granularity is not None and "int8" not in number_formats(self.formats):
            raise ExportError(
                "argument 'granularity' is of int8 files, and int8 is not among the formats: add argument 'formats=int8'"
            )

    def _check_onnx(self) -> None:
        """Rejects ONNX formats that cannot be written here, and options that no requested format has."""
        asked = [fmt for fmt in self.formats if is_onnx(fmt)]
        if not asked:
            return
        if self.engine == "tensorflow":
            raise ExportError(
                f"argument 'engine=tensorflow' with argument 'formats={asked[0]}': only the direct engine writes ONNX files; "
                "leave out one of them"
            )
        if self.metadata and len(asked) == len(self.formats):
            raise ExportError(
                "argument 'metadata' is of TFLite files, and all formats are of ONNX files: leave it out, or add a TFLite format"
            )
        check_onnx_tools(f"argument 'formats={asked[0]}'")

    def _check_aot(self) -> None:
        """Rejects SoCs that are unknown, and SoCs without a TFLite file or without the compiler."""
        if not self.aot:
            return
        get_placement_socs(self.aot)
        if all(map(is_onnx, self.formats)):
            raise ExportError("argument 'aot' is of TFLite files, and all formats are of ONNX files: leave it out")
        if reason := missing(QUALCOMM):
            raise ExportError(f"argument 'aot': {reason}")


_WORDS: dict[str, tuple[object, ...]] = {
    "formats": EXPORT_FORMATS,
    "io": get_args(InterfaceType),
    "granularity": (*get_args(Granularity), None),
    "engine": get_args(Engine),
}
"""Values of the options that are one of a few words."""


def _check_words(options: ExportOptions) -> None:
    for name, words in _WORDS.items():
        given = getattr(options, name)
        for word in given if name == "formats" else (given,):
            if word not in words:
                raise ExportError(f"argument '{name}': {word!r}, expected {', '.join(str(each) for each in words)}")
    if not options.formats:
        raise ExportError(f"argument 'formats': empty, expected some of {', '.join(map(str, _WORDS['formats']))}")
