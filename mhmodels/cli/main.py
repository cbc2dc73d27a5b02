"""The root command `mhmodels`. A command's module is imported only when the command runs, so that `--help` is fast."""

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

import click

from mhmodels.cli import terminal
from mhmodels.cli.lazy_group import LazyGroup
from mhmodels.errors import InterruptedJobError, MhmodelsError, PaddingWarning
from mhmodels.system.text import printable

# command: (module, attribute, one-line help). The help text is here so that `mhmodels --help` imports no command module.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "list": ("mhmodels.cli.list", "list_command", "List the networks of the zoo: parameters, MAdds, published accuracy."),
    "info": ("mhmodels.cli.info", "info", "Show one network: parameters, MAdds, feature endpoints, layers."),
    "export": ("mhmodels.export.cli.export", "export", "Write and verify TFLite files: float32, float16, int8, uint8."),
    "verify": (
        "mhmodels.export.cli.verify",
        "verify",
        "Compare a TFLite file with its model or with another file on pictures.",
    ),
    "consistency": (
        "mhmodels.export.cli.consistency",
        "consistency",
        "Compare a network's decisions over all formats and runtimes.",
    ),
    "place": ("mhmodels.cli.place", "place", "Say whether the NPU of a phone's SoC runs a network as a whole, and why not."),
    "bench": ("mhmodels.cli.bench", "bench", "Measure latency on hardware and store the measurements."),
    "compare": ("mhmodels.cli.compare", "compare", "Print the multi-hardware table: latency, MN-Norm average and maximum."),
    "advise": ("mhmodels.cli.advise", "advise", "Show the costliest layers on a hardware, and what changing them would save."),
    "weights": ("mhmodels.cli.weights", "weights", "Import, inspect, list and download trained weights."),
    "train": ("mhmodels.cli.train", "train", "Train a network on pictures; interrupted runs can be resumed."),
    "evaluate": ("mhmodels.cli.evaluate", "evaluate", "Compute the accuracy of weights on pictures."),
    "devices": ("mhmodels.android_bench.cli.devices", "devices", "List connected phones and the delegates that can run on them."),
    "search": ("mhmodels.search.cli.group", "search", "Search for networks; collect latencies and fit cost models."),
    "hardware": ("mhmodels.cli.hardware", "hardware", "List hardware for latencies; install tools of chip vendors."),
}

# Errors of the operating system about a path that the user chose. Any other OSError is a fault of the program.
_PLACES = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EFBIG,
)  # fmt: skip


class _ReaderLeftError(Exception):
    """The reader of stdout closed the pipe."""


class _EndOfFileError(Exception):
    """A command raised EOFError, such as a user's function that asks a person; click would call that an interruption."""

    def __init__(self, raised: EOFError) -> None:
        super().__init__(str(raised))
        self.raised = raised


def _reader_is_there() -> bool:
    """Returns whether stdout is still open; then the broken pipe was another one, for example of a connection to a phone."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # with an empty mask, poll reports only errors
    return not poll.poll(0)


class RootGroup(LazyGroup):
    """The root of the command line."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs a command and keeps two exceptions from click.

        Click would exit with code 1 after the reader of stdout, such as `head`, closed the pipe, and report EOFError as an
        interruption.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if _reader_is_there():
                raise
            raise _ReaderLeftError from error
        except EOFError as error:
            raise _EndOfFileError(error) from error


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from mhmodels.version import __version__

        click.echo(f"mhmodels {__version__}")
        ctx.exit()


@click.group(
    cls=RootGroup,
    commands_by_module=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version and exit.")
def cli() -> None:
    """Multi-hardware mobile backbones: one network that runs well on a phone's CPU, GPU, DSP and NPU.

    MODEL is a zoo name (`mhmodels list`), NAME@WIDTH with a width multiplier (for example mobilenet_v1@1.25), or the path of
    an architecture JSON file; some commands also take .keras files.
    """


def main() -> None:
    """Runs the command line. Errors of mhmodels print one message and exit with code 1; usage errors exit with code 2."""
    warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
    terminal.prepare()
    try:
        _check_working_directory()
        # `cli.main` returns the code of click's Exit, and None after a command without one.
        code = cli.main(prog_name="mhmodels", standalone_mode=False)
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message, lines=True)
        error.show()
        sys.exit(error.exit_code)
    except MhmodelsError as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt) as error:
        # Click converts KeyboardInterrupt to Abort, and a job chains an error that says what it kept: search the causes for both.
        causes = list(_causes(error))
        number = next((cause.number for cause in causes if isinstance(cause, terminal.TerminatedError)), signal.SIGINT)
        word = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        kept = next((str(cause) for cause in causes if isinstance(cause, InterruptedJobError)), "what was written before is kept")
        click.echo(f"{word}; {kept}", err=True)
        sys.exit(128 + number)
    except _EndOfFileError as error:
        raise error.raised from None
    except _ReaderLeftError:
        terminal.silence(sys.stdout)
        sys.exit(0)
    except OSError as error:
        if error.errno not in _PLACES:
            raise
        _fail(f"{_name_of(error)}: {error.strerror}; give another path, or make room there")
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _show_warning(otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *where: object) -> None:
    """Prints a warning of mhmodels as one line; warnings of other libraries keep Python's format."""
    if issubclass(category, PaddingWarning):
        click.echo(f"warning: {printable(str(message), lines=True)}", err=True)
    else:
        otherwise(message, category, *where)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception and its chain of causes."""
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
