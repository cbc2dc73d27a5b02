"""A folder with one folder a class as a source of labelled pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mhmodels.formats.json_files import control_character, plain_text
from mhmodels.preprocessing.decoding import PictureError, open_picture, picture_files
from mhmodels.training.errors import DataError

TRAIN = ("train", "training")
TEST = ("val", "validation", "test", "valid")
"""Names of the folders of training and test pictures."""


class FolderSource:
    """A folder with one folder a class; classes are numbered by the sorted folder names.

    Raises:
        DataError: No such folder, no class folders, or one of them without pictures, with a name that no label can be, or a
            link that leads nowhere.
    """

    def __init__(self, folder: str | os.PathLike[str], label_offset: int = 0) -> None:
        root = Path(folder)
        if not root.is_dir():
            state = "not a folder" if root.exists() else "no such folder"
            raise DataError(f"{folder}: {state}, expected a folder with one folder a class")
        classes = class_folders(root)
        _check_names(str(folder), classes)
        if len(classes) < 2:
            raise DataError(f"{folder}: {len(classes)} folders in it, expected one a class, at least 2")
        self.name = plain_text(str(folder))
        self.labels = tuple(classes)
        self.label_set = plain_text((root.parent if root.name in (*TRAIN, *TEST) else root).resolve().name)
        self.classes: int | None = len(classes) + label_offset
        self._root = root
        self._files: list[tuple[str, int]] = []
        empty = []
        for label, name in enumerate(classes):
            # Not into the folder of all classes: a link to it would give this class the pictures of every other.
            files = _pictures(root / name, root)
            self._files += [(f"{name}/{file}", label + label_offset) for file in files]
            if not files:
                empty.append(name)
        if empty:
            raise DataError(
                f"{folder}: {len(empty)} of {len(classes)} class folders hold no picture: {', '.join(empty[:10])}"
                f"{', …' if len(empty) > 10 else ''}; add pictures such as .jpg or .png, or remove the folders"
            )

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """One picture file, as `mhmodels.preprocessing.pictures.open_picture` reads it."""
        file, label = self._files[index]
        return open_picture(self._root / file), label

    def where(self, index: int) -> str:
        return plain_text(str(self._root / self._files[index][0]))

    def fingerprint(self) -> str:
        listed = "\n".join(f"{label} {file}" for file, label in self._files)
        digest = hashlib.sha256(listed.encode("utf-8", "surrogateescape"))
        return f"{len(self)} pictures, {digest.hexdigest()[:16]}"


def class_folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _check_names(folder: str, classes: Sequence[str]) -> None:
    """Refuses names of class folders that cannot be labels, and links that may have been class folders."""
    strange = [plain_text(name) for name in classes if plain_text(name) != name]
    if strange:
        raise DataError(f"{folder}: class folders with names that are not UTF-8 ({', '.join(strange[:10])}); rename them")
    broken = [name for name in classes if control_character(name) or not name.strip()]
    if broken:
        raise DataError(
            f"{folder}: class folders whose names are blank, or have control characters or line ends "
            f"({', '.join(map(repr, broken[:10]))}), which no line of a labels file can hold; rename them"
        )
    # A class that is missing would shift the labels of all after it.
    lost = sorted(entry.name for entry in Path(folder).iterdir() if entry.is_symlink() and not entry.exists())
    if lost:
        raise DataError(f"{folder}: links that lead nowhere ({', '.join(map(repr, lost[:10]))}); mend or remove them")


def _pictures(folder: Path, root: Path) -> list[str]:
    try:
        return picture_files(folder, outside=(root.resolve(),))
    except PictureError as error:
        raise DataError(str(error)) from error
