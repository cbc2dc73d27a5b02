"""The root of the command line. Commands are named by module and imported only when they run, so that help is fast."""

from __future__ import annotations

import errno
import functools
import importlib
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


class _EndOfFileError(Exception):
    """A command raised EOFError, such as a user's function that asks a person; click would call that an interruption."""

    def __init__(self, raised: EOFError) -> None:
        super().__init__(str(raised))
        self.raised = raised


def _reader_is_there() -> bool:
    """Whether the pipe that broke was another one than stdout, such as a phone's."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # asked for nothing, it tells of errors alone
    return not poll.poll(0)


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table: the order in which people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; keeps from click what it would take for something else.

        click ends with code 1 where the reader of stdout (head, less) went away, and reports EOFError as an interruption.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if _reader_is_there():
                raise
            raise _ReaderLeftError from error
        except EOFError as error:
            raise _EndOfFileError(error) from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds a command; an unknown one is answered with the nearest names."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else " `mhmodels --help` lists the commands."
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the command list from the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from mhmodels.version import __version__

        click.echo(f"mhmodels {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
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
