"""The root of the command line. Commands are named by module and imported only when they run, so that help is fast."""

from __future__ import annotations

import errno
import functools
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from mhmodels.cli import terminal
from mhmodels.cli.lazy_group import LazyGroup
from mhmodels.errors import InterruptedJobError, MhmodelsError, PaddingWarning
from mhmodels.system.text import printable

# command: (module, attribute, one-line help). The help stands here so that `mhmodels --help` imports none of them.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "list": ("mhmodels.cli.list", "list_command", "Names, parameters, MAdds and published accuracy of the zoo."),
    "info": ("mhmodels.cli.info", "info", "One network: size, work, endpoints, layers."),
    "export": ("mhmodels.export.cli.export", "export", "Write TFLite files: float32, int8, uint8, verified at once."),
    "verify": (
        "mhmodels.export.cli.export",
        "verify",
        "Compare a TFLite file with its model, or with another file, on pictures.",
    ),
    "consistency": (
        "mhmodels.export.cli.consistency",
        "consistency",
        "Does a network say the same in every format, on every runner?",
    ),
    "bench": ("mhmodels.cli.bench", "bench", "Measure latency on hardware and store it."),
    "compare": ("mhmodels.cli.compare", "compare", "The multi-hardware table: latency, MN-Norm average and maximum."),
    "weights": ("mhmodels.cli.weights", "weights", "Weights: take over trained ones, look into files."),
    "train": ("mhmodels.cli.train", "train", "Train a network on pictures, resumable to the step."),
    "evaluate": ("mhmodels.cli.evaluate", "evaluate", "Accuracy of weights on pictures."),
    "devices": ("mhmodels.android_bench.cli.devices", "devices", "Phones that adb sees, and which delegates can run on them."),
    "search": ("mhmodels.search.cli.group", "search", "Search spaces, samples, cost models."),
    "hardware": ("mhmodels.cli.hardware", "hardware", "What can be measured from here, and why not."),
}

# What the system says of a place that a user chose, not of a fault of ours.
_PLACES = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EFBIG,
)  # fmt: skip


class _ReaderLeftError(Exception):
    """Nobody reads what a command prints."""


def _reader_is_there() -> bool:
    """Whether the pipe that broke was another one than stdout, such as a phone's."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # asked for nothing, it tells of errors alone
    return not poll.poll(0)


class RootGroup(LazyGroup):
    """The root of the command line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; click would end with code 1 where the reader of stdout (head, less) went away."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if _reader_is_there():
                raise
            raise _ReaderLeftError from error


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from mhmodels import __version__

        click.echo(f"mhmodels {__version__}")
        ctx.exit()


@click.group(
    cls=RootGroup, commands_by_module=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version and exit.")
def cli() -> None:
    """Multi-hardware mobile backbones: one network that runs well on a phone's CPU, GPU, DSP and NPU.

    MODEL is a zoo name (`mhmodels list`), NAME@WIDTH (mobilenet_v1@1.25), or the path of an architecture JSON file.
    """


def main() -> None:
    """Runs the command line; errors that a user can mend are one message and exit code 1, wrong usage is 2."""
    warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
    terminal.prepare()
    try:
        _check_working_directory()
        # What a command raises as click's Exit comes back as its code, and a finished command gives None.
        code = cli.main(prog_name="mhmodels", standalone_mode=False)
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message, lines=True)
        error.show()
        sys.exit(error.exit_code)
    except MhmodelsError as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt) as error:
        # click turns every KeyboardInterrupt into its own Abort, and a job adds what it keeps: the causes tell both.
        causes = list(_causes(error))
        number = next((cause.number for cause in causes if isinstance(cause, terminal.TerminatedError)), signal.SIGINT)
        word = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        kept = next((str(cause) for cause in causes if isinstance(cause, InterruptedJobError)), "what was written before is kept")
        click.echo(f"{word}; {kept}", err=True)
        sys.exit(128 + number)
    except _ReaderLeftError:
        terminal.silence(sys.stdout)
        sys.exit(0)
    except OSError as error:
        if error.errno not in _PLACES:
            raise
        _fail(f"{_name_of(error)}: {error.strerror}; give another path, or make room there")
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _show_warning(otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Shows a warning of ours as one line for people; another library's as Python does."""
    if issubclass(category, PaddingWarning):
        click.echo(f"warning: {printable(str(message), lines=True)}", err=True)
    else:
        otherwise(message, category, *where)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise MhmodelsError(f"the working directory cannot be used ({error.strerror}): change to a folder that exists") from error


def _name_of(error: OSError) -> str:
    return os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "output"


def _fail(message: str) -> None:
    click.echo(f"error: {printable(message, lines=True)}", err=True)
    sys.exit(1)
