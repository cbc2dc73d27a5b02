"""`mhmodels search run`, `resume` and `show`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mhmodels.cli.common import FiniteRange, OutputFile, check_places, console, emit_json, json_option, note, progress_console
from mhmodels.formats.json_files import plain_text

if TYPE_CHECKING:
    from mhmodels.search.cost_model.model import CostModel
    from mhmodels.search.methods.strategies import Method
    from mhmodels.search.objective.objective import Objective
    from mhmodels.search.run.request import Request
    from mhmodels.search.run.running import Found, Progress

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_RESULT, _PICTURE = OutputFile(".json"), OutputFile(".png", ".svg", ".pdf")
_EVALUATIONS = {"evolution": 1000, "nsga2": 2000, "random": 1000}
_POPULATIONS = {"evolution": 50, "nsga2": 100}


def _output_options(command: F) -> F:
    for option in (
        click.option("-o", "--output", type=_RESULT, default=None, metavar="FILE.json", help="Architecture file to write."),
        click.option(
            "--front",
            "front_path",
            type=_RESULT,
            default=None,
            metavar="FILE.json",
            help="Write the Pareto-optimal networks to this file.",
        ),
        click.option("--name", default=None, help="Name of the architecture. Default: the name of the output file."),
    ):
        command = option(command)
    return command


def supernet_options(command: F) -> F:
    """The options of `search run` that a super-network adds."""
    for option in (
        click.option(
            "--recompute", is_flag=True, help="With --data: compute activations again in the backward pass; less memory."
        ),
        click.option(
            "--strategy",
            type=click.Choice(["none", "mirrored", "multi_worker", "tpu"]),
            default="none",
            show_default=True,
            help="With --data: how training is distributed, as for `mhmodels train`; tpu: not exercised.",
        ),
        click.option(
            "--classes", type=click.IntRange(1), default=None, help="With --data: number of classes. Default: the data's."
        ),
        click.option("--label-offset", type=int, default=None, help="With --data: added to the labels of TFRecords."),
        click.option(
            "--preset", default=None, metavar="NAME|FILE.json", help="With --data: quick, paper, tunas, or a preset file."
        ),
        click.option(
            "--data",
            default=None,
            metavar="DIR|TFRECORDS|digits64",
            help="Train a super-network on these pictures and judge networks by its shared weights.",
        ),
    ):
        command = option(command)
    return command


@click.command("run")
@click.option("--space", required=True, metavar="NAME", help="See `mhmodels search space`.")
@click.option(
    "--method",
    type=click.Choice(["reinforce", "evolution", "nsga2", "random"]),
    default="reinforce",
    show_default=True,
    help="Search method (docs/search.md).",
)
@click.option(
    "--evaluator",
    default=None,
    metavar="FILE|MODULE:FUNCTION",
    help="Source of accuracies: a published table (FILE.npz[:COLUMN] or FILE.csv), FILE.jsonl to train a predictor on, or a "
    "function.",
)
@click.option(
    "--cost-model",
    "cost_models",
    type=_FILE,
    multiple=True,
    metavar="model.json|ID",
    help="Cost model that predicts latencies, one for each hardware: a file, or the ID of one that comes with the package "
    "(ethos-u55-128, …).",
)
@click.option(
    "--latencies",
    type=_FILE,
    default=None,
    metavar="FILE.npz|FILE.csv|NAME",
    help="Table of latencies in place of cost models: a published one, what `search collect -o` wrote, or one that comes with "
    "the package (nas_bench_macro).",
)
@click.option("--force", is_flag=True, help="Also use cost models that their files mark as doubtful.")
@click.option("--hardware", multiple=True, metavar="ID", help="Use only these of the cost models or columns of the table.")
@click.option("--limits", multiple=True, metavar="ID", help="Search only networks that all of these run (`search space`).")
@click.option(
    "--aggregate",
    type=click.Choice(["avg", "max"]),
    default="avg",
    show_default=True,
    help="Mean or maximum of L/C over hardware.",
)
@click.option(
    "--reward",
    "kind",
    type=click.Choice(["absolute", "soft-exponential", "hard-exponential"]),
    default="absolute",
    show_default=True,
    help="Form of the reward (docs/search.md).",
)
@click.option(
    "--beta", type=FiniteRange(), default=-0.07, show_default=True, help="Exponent or factor β of latency in the reward."
)
@click.option("--target", type=FiniteRange(), default=1.0, show_default=True, help="Target of L/C, as aggregated.")
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="MODEL|ID=MS",
    help="Reference latencies C that normalise each hardware: a model, or ID=MS. Default: mobilenet_v1, or medians of a table.",
)
@click.option("--weight", "weights", multiple=True, metavar="ID=W", help="Weight of a hardware; 0 leaves it out.")
@click.option("--evaluations", type=click.IntRange(1), default=None, help="Networks to evaluate; not for reinforce.")
@click.option("--steps", type=click.IntRange(1), default=20_000, show_default=True, help="Updates of the controller.")
@click.option("--replicas", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Samples for each update.")
@click.option("--learning-rate", type=FiniteRange(), default=4.8e-3, show_default=True, help="Controller's learning rate.")
@click.option(
    "--delay", type=FiniteRange(), default=0.25, show_default=True, help="Share of the steps before the controller learns."
)
@click.option(
    "--refinement", type=click.IntRange(0), default=1000, show_default=True, help="Evaluations by evolution after the controller."
)
@click.option(
    "--population",
    type=click.IntRange(2, 100_000),
    default=None,
    help="Networks in evolution's population. Default: 50, for nsga2 100; at most half of the evaluations.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed of the search.")
@click.option(
    "--log",
    "log_path",
    type=_FILE,
    default=None,
    metavar="FILE.db",
    help="Log of the search (SQLite). A search that it holds is continued.",
)
@supernet_options
@_output_options
@json_option
def run_command(
    output: Path | None, front_path: Path | None, name: str | None, log_path: Path | None, as_json: bool, **options: Any
) -> None:
    """Search a space for the network of the best reward: accuracy, less what latency on all hardware takes from it.

    Accuracies come from a table, a predictor or a function (--evaluator), or from a super-network that is trained on pictures
    (--data); latencies from cost models or a table.
    """
    from mhmodels.search.cli import run_checks

    run_checks.check_effects(run_checks.given_options(click.get_current_context()), options)
    request = make_request(options)
    execute(request, log_path, output, front_path, name, as_json)


@click.command("resume")
@click.argument("log_path", type=_FILE, metavar="LOG.db")
@click.option(
    "--evaluator",
    default=None,
    metavar="MODULE:FUNCTION",
    help="The function that the log names for accuracies: confirms that it may run. Without this option the command asks, or, "
    "if nobody can answer, refuses.",
)
@click.option("--force", is_flag=True, help="Also use cost models that their files mark as doubtful.")
@_output_options
@json_option
def resume_command(
    log_path: Path,
    evaluator: str | None,
    force: bool,
    output: Path | None,
    front_path: Path | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Continue the search that a log holds, with its own settings, to the result that it would have had uninterrupted."""
    import sys

    import msgspec

    from mhmodels.search.cli import run_checks
    from mhmodels.search.run.request import load_request

    request = load_request(log_path)
    ask = (lambda text: click.confirm(text, err=True)) if sys.stdin.isatty() and not as_json else None
    run_checks.check_function(request, evaluator, log_path, ask)
    request = msgspec.structs.replace(request, force=request.force or force)
    execute(request, log_path, output, front_path, name, as_json)


@click.command("show")
@click.argument("model", metavar="FILE|MODEL")
@click.option("--png", type=_PICTURE, default=None, metavar="FILE.png", help="Draw it: stages, blocks, widths.")
@json_option
def show_command(model: str, png: Path | None, as_json: bool) -> None:
    """Show a network that was found, or any other: its stages, blocks and widths, and where it comes from."""
    from mhmodels.search.run import drawing
    from mhmodels.search.run.results import Result, read_result

    path = Path(model)
    if path.suffix == ".json" and path.is_file():
        result = read_result(path)
    else:
        from mhmodels.registry import resolve

        result = Result(resolve(model), None, None, {})
    if png is not None:
        drawing.draw(result, png)
        note(f"drawn to {png}")
    if as_json:
        emit_json(drawing.document(result))
    else:
        drawing.show(console(), result)


def make_request(options: dict[str, Any]) -> Request:
    """A request from the command's options."""
    from mhmodels.search.run.request import Request

    if (options["evaluator"] is None) == (options["data"] is None):
        raise click.UsageError("accuracies come from an --evaluator or from a super-network trained on --data: give one of both")
    supernet = {}
    if options["data"] is not None:
        from mhmodels.search.cli.supernet import request_options

        supernet = request_options(options)
    from mhmodels.search.cli.run_checks import absolute_evaluator, absolute_model, numbers
    from mhmodels.search.cost_model.model import load_cost_model
    from mhmodels.search.cost_model.shipping import model_path, remark_on, table_path

    cost_models = [model_path(options["space"], path) for path in options["cost_models"]]
    loaded = [load_cost_model(path) for path in cost_models]
    for remark in filter(None, map(remark_on, loaded, cost_models)):
        note(remark)
    networks = [value for value in options["references"] if "=" not in value]
    if len(networks) > 1:
        raise click.UsageError(f"--reference names {len(networks)} networks ({', '.join(networks)}), expected one")
    request = Request(
        space=options["space"],
        method=_method(options),
        evaluator=absolute_evaluator(options["evaluator"] or ""),
        seed=options["seed"],
        cost_models=tuple(map(str, cost_models)),
        latencies="" if options["latencies"] is None else str(table_path(options["latencies"])),
        hardware=tuple(part for value in options["hardware"] for part in value.split(",")),
        limits=options["limits"],
        references=numbers(tuple(one for one in options["references"] if "=" in one), "--reference", positive=True),
        reference=absolute_model(networks[0]) if networks else None,
        kind=options["kind"],
        aggregate=options["aggregate"],
        beta=options["beta"],
        target=options["target"],
        weights=numbers(options["weights"], "--weight", positive=False),
        force=options["force"],
        options=supernet,
    )
    if loaded:
        _tell_guesses(request, loaded)
    if request.latencies:
        _tell_other_cpu(request)
    return request


def _tell_other_cpu(request: Request) -> None:
    """Says whose CPU a table's latencies are of, if not this machine's."""
    from mhmodels.search.cost_model.shipping import remarks_on_table
    from mhmodels.search.space.catalogue import get_space

    for remark in remarks_on_table(Path(request.latencies), get_space(request.space), request.hardware):
        note(remark)


def _tell_guesses(request: Request, models: list[CostModel]) -> None:
    """Says where C is the weakest number of a search."""
    from mhmodels.search.cost_model.latencies.baselines import BASELINE
    from mhmodels.search.run.request import guessed_references

    guessed = guessed_references(request, models)
    if guessed:
        note(
            f"C of {request.reference or BASELINE} on {', '.join(guessed)} is a prediction for a network unlike those that were "
            "measured, and may be off by a quarter: measure it (`search collect --baseline`, then fit) or give it "
            "(--reference ID=MS)"
        )


def execute(
    request: Request,
    log_path: Path | None,
    output: Path | None,
    front_path: Path | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Runs a request and writes what it finds."""
    import msgspec

    from mhmodels.search.cli import run_checks
    from mhmodels.search.run.results import front_document, result_file
    from mhmodels.system.files import write_atomically

    run_checks.check_name(name, output)
    run_checks.check_texts(request)
    check_places({"-o": output, "--front": front_path, "--log": log_path}, run_checks.files_read(request))
    run_checks.check_front(front_path, request.options.get("preset"))
    if request.options:
        from mhmodels.search.cli import supernet as supernet_cli

        result = supernet_cli.search(request, log_path or (output or Path("search.json")).with_suffix(".db"), _tell)
        if result is None:
            return
        objective, found, told = result
    else:
        objective, found, told = _evaluated(request, log_path)
    if output is not None:
        write_atomically(output, result_file(objective.space, found.encoding, told, name or plain_text(output.stem)))
    if front_path is not None:
        document = front_document(objective, found, getattr(request.method, "each", True))
        write_atomically(front_path, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    if as_json:
        emit_json({**told, "label": objective.space.label(found.encoding), "path": None if output is None else str(output)})
        return
    _print(objective, found)
    if output is not None:
        note(f"written to {output}")


def _evaluated(request: Request, log_path: Path | None) -> tuple[Objective, Found, dict[str, Any]]:
    """Searches with accuracies of an evaluator; gives what was found and its provenance."""
    import msgspec

    from mhmodels.search.run.log import SearchLog
    from mhmodels.search.run.request import make_evaluator, make_objective
    from mhmodels.search.run.running import header, provenance, search

    objective = make_objective(request)
    reach = objective.check_target(request.seed)
    evaluator = make_evaluator(request, objective.space)
    _tell(objective, evaluator.identity, reach.near)
    with _bar(request.method) as progress:
        if log_path is None:
            found = search(objective, evaluator, request.method, request.seed, None, progress)
        else:
            with SearchLog(log_path, msgspec.to_builtins(request)) as log:
                found = search(objective, evaluator, request.method, request.seed, log, progress)
    if found.evaluations < request.method.budget:
        note(f"{found.evaluations} evaluations, not {request.method.budget}: hardly any network is left that was not asked for")
    return objective, found, provenance(header(objective, evaluator, request.method, request.seed), found, objective)


def _method(options: dict[str, Any]) -> Method:
    from mhmodels.search.methods.controller import ControllerSettings
    from mhmodels.search.methods.strategies import Evolution, NonDominated, Random, Reinforce

    kind, population = options["method"], options["population"]
    if kind == "reinforce":
        controller = ControllerSettings(
            steps=options["steps"],
            learning_rate=options["learning_rate"],
            delay=options["delay"],
            operation_warm_up=0.0,
            width_warm_up=0.0,
        )
        size = population or 50
        return Reinforce(
            controller=controller,
            replicas=options["replicas"],
            refinement=options["refinement"],
            population=size,
            tournament=max(2, size // 2),
        )
    evaluations = options["evaluations"] or _EVALUATIONS[kind]
    if kind == "random":
        return Random(evaluations=evaluations)
    if population is not None and population >= evaluations:
        raise click.UsageError(
            f"--population {population} leaves nothing of {evaluations} evaluations for evolution, expected fewer (or more "
            "--evaluations)"
        )
    size = population or max(2, min(_POPULATIONS[kind], evaluations // 2))
    if kind == "nsga2":
        return NonDominated(evaluations=evaluations, population=size)
    return Evolution(evaluations=evaluations, population=size, tournament=max(2, size // 2))


def _tell(objective: Objective, accuracies: str, near: float) -> None:
    reward = objective.reward
    equation = f", equation {reward.equation}" if reward.equation else ""
    note(f"space {objective.space.name} on {', '.join(objective.sources)}")
    note(f"reward: {reward.kind} of f_{reward.aggregate}{equation}, β = {reward.beta:g}, target {reward.target:g}")
    note(f"accuracies: {accuracies}")
    if near < 0.001:
        note(f"warning: {near:.2%} of 10 000 samples are within 5 % of the target; it can be met, at the edge of the space")


@contextmanager
def _bar(method: Method) -> Iterator[Progress]:
    """A bar with phase and best reward."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    err = progress_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, refresh_per_second=4, disable=not err.is_terminal) as bar:
        task = bar.add_task("search", total=method.budget)

        def advance(done: int, phase: str, best: float) -> None:
            bar.update(task, completed=done, description=f"{phase}, best reward {best:.4f}")

        yield advance


def _print(objective: Objective, found: Found) -> None:
    from rich.markup import escape
    from rich.table import Table

    out, reward = console(), objective.reward
    out.print(
        f"{objective.space.label(found.encoding)}: accuracy {found.accuracy:.2%}, f_{reward.aggregate} {found.f:.3f} "
        f"(target {reward.target:g}), reward {found.reward:.4f}, {found.evaluations} evaluations of {found.networks} networks",
        markup=False,
        emoji=False,
    )
    table = Table("hardware", "ms", "C, ms", "L/C", "")
    for hardware, ms in zip(objective.sources, found.latencies, strict=True):
        c = reward.references[hardware]
        table.add_row(escape(hardware), f"{ms:.4g}", f"{c:.4g}", f"{ms / c:.3f}", "binds" if hardware == found.binding else "")
    out.print(table)
