"""Shared by all commands: the options `--json` and `--store`, output files, consoles, notes and progress."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import click

from mhmodels.cli.messages import named_options
from mhmodels.cli.terminal import trusted
from mhmodels.system.files import nearest_folder, try_place
from mhmodels.system.text import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

F = TypeVar("F", bound=Callable[..., object])


class OutputFile(click.Path):
    """Parameter type for a file that the command writes at its end. An unwritable path is refused before the work begins."""

    def __init__(self, *suffixes: str) -> None:
        """Accepts names that end with one of `suffixes`, or any name if `suffixes` is empty."""
        super().__init__(path_type=Path, dir_okay=False)
        self.suffixes = suffixes

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path after creating and removing a test file in its folder."""
        path = Path(str(super().convert(value, param, ctx)))
        if self.suffixes and not path.name.lower().endswith(self.suffixes):
            self.fail(f"'{path}': expected a name that ends with {' or '.join(self.suffixes)}", param, ctx)
        from mhmodels.formats.json_files import control_character

        if control_character(str(path)) is not None:
            self.fail(f"{str(path)!r}: expected a name without control characters", param, ctx)
        check_place(path, lambda message: self.fail(message, param, ctx))
        return path


def check_place(path: Path, refuse: Callable[[str], NoReturn]) -> None:
    """Checks that a file can be written, before the work starts; calls `refuse` with the message if it cannot."""
    try:
        try_place(path)
    except OSError as error:
        under = error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR)
        where = "under this name" if under else f"to '{nearest_folder(path)}'"
        refuse(f"'{path}': nothing can be written {where} ({error.strerror}); give another path")


class FiniteRange(click.FloatRange):
    """Parameter type for finite decimal numbers in a range.

    Unlike `click.FloatRange`, it rejects NaN, infinity and `1_000`.
    """

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number."""
        from mhmodels.formats.numbers import decimal

        try:
            number = decimal(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"'{value}': expected a finite decimal number like 12.5", param, ctx)
        return float(super().convert(number, param, ctx))

    def _describe_range(self) -> str:
        return "" if self.min is None and self.max is None else super()._describe_range()


def check_places(written: Mapping[str, Path | None], read: Iterable[Path | None] = ()) -> None:
    """Rejects output files that collide with each other or with a file that the command reads.

    Args:
        written: Output file by option name; None if the option is not given.
        read: Files that the command reads, besides those that its other arguments and options name.

    Raises:
        click.UsageError: Two paths are the same file; the message names the options and the file.
    """
    taken = {os.path.realpath(path): "what the command reads" for path in (*read, *_named_files(written)) if path is not None}
    for option, path in written.items():
        if path is not None:
            other = taken.setdefault(os.path.realpath(path), option)
            if other != option:
                raise click.UsageError(f"{option} is '{path}', which is {other} too: give it a file of its own")


def _named_files(written: Mapping[str, Path | None]) -> Iterator[Path]:
    """Yields the existing files named by arguments and options of the running command, except its output files."""
    context = click.get_current_context(silent=True)
    for param in context.command.params if context is not None else ():
        value = context.params.get(param.name or "") if context is not None else None
        # A log is given as an option or as an argument; object identity tells it from another parameter with an equal path.
        itself = any(option in param.opts or value is path for option, path in written.items())
        if isinstance(param.type, OutputFile) or itself:
            continue
        for word in value if isinstance(value, tuple) else (value,):
            # Text that is not a valid path, for example with a NUL or 10,000 characters long, names no file.
            with contextlib.suppress(OSError, ValueError):
                if isinstance(word, (str, Path)) and Path(word).is_file():
                    yield Path(word)


def json_option(command: F) -> F:
    """Adds the option `--json`: one JSON document on stdout; notes, warnings and errors on stderr."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout instead of text.")(command)


def store_option(command: F) -> F:
    """Adds the option `--store`: the SQLite file of measurements."""
    return click.option(
        "--store",
        type=click.Path(dir_okay=False),
        default=None,
        metavar="FILE",
        help="SQLite file with stored measurements.  [default: results.db in $MHMODELS_HOME or the user's data folder]",
    )(command)


def width_multiplier_option(command: F) -> F:
    """Adds the option `--width-multiplier`: a factor on the widths of the network that a command takes."""
    return click.option(
        "--width-multiplier",
        type=float,
        default=None,
        help="Width multiplier: factor on the channel counts of all layers, above 0 and at most 16, such as 0.5; overrides the "
        "WIDTH of NAME@WIDTH.",
    )(command)


def label_offset_option(command: F) -> F:
    """Adds the option `--label-offset`: how labels of pictures become outputs."""
    return click.option(
        "--label-offset",
        type=int,
        default=None,
        help="Number added to every stored label, for example -1 for labels that begin at 1. Required for TFRecords; 0 by "
        "default for folders and IDX files.",
    )(command)


@contextmanager
def step_bar(first: str) -> Iterator[Callable[[str, int, int], None]]:
    """Shows a progress bar on stderr that disappears at the end; nothing where stderr is not a terminal.

    Args:
        first: Description before the first step.

    Yields:
        The function that takes the description of a step, the number of finished ones, and the number of all.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    err = progress_console()
    text = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(first, total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


def is_file_target(target: str) -> bool:
    """Returns whether an argument FILE|MODEL is a file of a network, and not a name or an architecture file."""
    return target.endswith((".tflite", ".onnx")) or (Path(target).is_file() and not target.endswith(".json"))


def emit_json(document: object) -> None:
    """Prints plain values and msgspec structs as JSON. NaN becomes null; bytes of names that are not UTF-8 become U+FFFD.

    Texts of the library, such as the reason of a failure, name options of the running command in place of arguments.
    """
    import msgspec

    try:
        encoded = msgspec.json.encode(document, order="deterministic")
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_plain(msgspec.to_builtins(document)), order="deterministic")
    click.echo(json_text(named_options(msgspec.json.format(encoded, indent=2).decode())))


def _plain(value: object) -> object:
    from mhmodels.formats.json_files import plain_text

    if isinstance(value, dict):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return plain_text(value) if isinstance(value, str) else value


def note(message: str) -> None:
    """Prints a remark on stderr, so that stdout contains only the result."""
    click.echo(printable(message, lines=True), err=True)


def console() -> Console:
    """Returns a rich console on stdout, 160 columns wide if stdout is not a terminal."""
    return _console(trusted(sys.stdout), None if sys.stdout.isatty() else 160)


def progress_console() -> Console:
    """Returns a rich console on stderr that keeps working while `mhmodels.system.quiet` silences native libraries."""
    file = os.fdopen(os.dup(2), "w", errors="replace")
    shown = _console(file, None)
    weakref.finalize(shown, file.close)
    return shown


def _console(file: TextIO, width: int | None) -> Console:
    """Returns a console that escapes control characters in names and messages."""
    from rich.console import Console
    from rich.segment import Segment

    class SafeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # `main` handles a closed stdout as success; rich would exit with code 1

        def render_str(self, text: str, **settings: Any) -> Text:
            return super().render_str(printable(text, max(len(text), 60), lines=True), **settings)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else printable(text, max(len(text), 60), lines=True), style, control)

    return SafeConsole(file=file, highlight=False, width=width)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows a spinner with the text `what` on a terminal while a block without measurable progress runs."""
    with progress_console().status(f"{what} …"):
        yield


def millions(value: float) -> str:
    """Formats a count in millions with two decimals, as tables print it."""
    return f"{value / 1e6:.2f}"
