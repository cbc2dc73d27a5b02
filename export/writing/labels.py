"""Class names of the scores of a file."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from mhmodels.export.errors import ExportError
from mhmodels.formats.checked import Checked
from mhmodels.formats.json_files import plain_text
from mhmodels.weights.info import Labels
from mhmodels.weights.labels import BACKGROUND, read_labels

_SEPARATORS = re.compile("[\n\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]+")


class OutputLabels(Checked, frozen=True, kw_only=True):
    """Names of the scores of a file: output `offset + i` is class `names[i]`.

    Attributes:
        names: Class names in the order of the outputs; empty if they are unknown.
        offset: Index of the output that the first name belongs to; outputs before it have no class name, such as a background
            class.
        source: Name of the labels file, or `weights file`.
        sha256: Hash of the names, one per line, as hexadecimal digits.
    """

    names: tuple[str, ...] = ()
    offset: int = 0
    source: str = ""
    sha256: str = ""

    def lines(self) -> tuple[str, ...]:
        """Returns one line for each output, for label files; characters that some readers take for a line end become blanks."""
        return (BACKGROUND,) * self.offset + tuple(_SEPARATORS.sub(" ", name) for name in self.names)

    def check(self, classes: int) -> None:
        """Compares the number of names with the network's outputs.

        Raises:
            ExportError: They differ; the message has the remedy.
        """
        if not self.names or len(self.names) + self.offset == classes:
            return
        hint = ""
        if 0 < classes - len(self.names) - self.offset <= 1:
            hint = f"; if output 0 is a background class, give argument 'label_offset={classes - len(self.names)}'"
        raise ExportError(
            f"{self.source}: {len(self.names)} labels from output {self.offset} on, the network has {classes} outputs{hint}"
        )


NO_LABELS = OutputLabels()


def labels_from_file(path: str | Path, offset: int = 0) -> OutputLabels:
    """Reads a labels file, one name per line.

    Args:
        path: Path of the text file.
        offset: Index of the output that the first name belongs to, for example 1 if output 0 is a background class.

    Raises:
        WeightsError: The file is not text, has no names, or has an empty line among them.
        FileFormatError: The file cannot be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.export import labels_from_file
        >>> path = Path(tempfile.mkdtemp(), "labels.txt")
        >>> _ = path.write_text("cat\\ndog\\n")
        >>> labels_from_file(path).names
        ('cat', 'dog')
    """
    return _labels(read_labels(path), offset, plain_text(Path(path).name))


def labels_of_weights(labels: Labels) -> OutputLabels:
    """Returns the labels of a weights file; none if the file does not state which output is the background."""
    if not labels.names or labels.background == "unknown":
        return NO_LABELS
    # An output that was never trained still needs a line, or label files would be one short.
    names = (*labels.names, BACKGROUND) if labels.background == "last" else labels.names
    return _labels(names, labels.offset, "weights file")


def _labels(names: tuple[str, ...], offset: int, source: str) -> OutputLabels:
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return OutputLabels(names=names, offset=offset, source=source, sha256=digest)
