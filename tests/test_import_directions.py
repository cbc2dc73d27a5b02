"""Imports point one way: every room imports only rooms that stand above its own line in `ORDER`, and no modules form a cycle.

docs/architecture.md draws the same order. Imports inside functions and under `TYPE_CHECKING` count like any other.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("android_bench", "export", "search")

ORDER = """
errors version
lazy
system
formats
block_types
architecture
blocks
network families
complexity
registry
preprocessing tflite pictures
weights
builder inference
training
hardware.conditions
hardware.measurement
hardware.layers.profile
hardware.protocol
store
hardware
metrics
published
export.errors export.tolerances export.formats
export.graph
export.quantisation
export.reading
export.quantisation.aware
export.opening
export.writing
export.verification
export.options
export.job export.targets
export.file_manifest export.quantised_files
export.file_export
export.pipeline
export.consistency
export
android_bench.errors
android_bench.transport
android_bench.device
android_bench.delegates
android_bench.output
android_bench.verdict
android_bench.session
android_bench.runner
android_bench
report
advice
search.errors search.arrays
search.space
search.cost_model
search.adaptation search.profiling
search.objective
search.methods
search.collecting search.run.evaluations
search.run.log
search.supernet
search.run
search
mhmodels
cli
export.cli android_bench.cli search.cli
__main__
""".strip()
"""Rooms, lowest first; a name stands for all modules that begin with it and have no longer name here."""

INDEPENDENT = (("export", "android_bench"), ("android_bench", "export"))
"""Packages that stand one above the other in `ORDER` and still must not import each other: (importer, imported)."""

RANKS = {room: rank for rank, line in enumerate(ORDER.splitlines()) for room in line.split()}


@cache
def imports() -> dict[str, frozenset[str]]:
    """What each module imports of ours, by names below `mhmodels`; the package itself is `mhmodels`."""
    folders = [ROOT / "mhmodels", *(ROOT / name for name in LINKED)]
    files = {_name(path): path for folder in folders for path in folder.rglob("*.py")}
    return {module: frozenset(_imported(path, files)) - {module} for module, path in files.items()}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[parts[0] == "mhmodels" :]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "mhmodels"


def _imported(path: Path, files: dict[str, Path]) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        for name in names if isinstance(node, ast.Import) else [f"{getattr(node, 'module', '')}.{name}" for name in names]:
            if name.split(".")[0] == "mhmodels":
                short = name.removeprefix("mhmodels.")
                found.append(short if short in files else short.rpartition(".")[0] or "mhmodels")
    return found


def room(module: str) -> str:
    """The longest name in `ORDER` that a module begins with."""
    return max((name for name in RANKS if f"{module}.".startswith(f"{name}.") or module.startswith(f"{name}_")), key=len)


def wrong_way() -> set[tuple[str, str]]:
    """Every import of a room that does not stand above the importer's."""
    return {
        (module, other)
        for module, others in imports().items()
        for other in others
        if room(module) != room(other)
        and (
            RANKS[room(other)] >= RANKS[room(module)]
            or (not room(module).endswith("cli") and (module.split(".")[0], other.split(".")[0]) in INDEPENDENT)
        )
    }


def test_imports_point_one_way() -> None:
    assert not wrong_way(), "these imports point the wrong way"


def test_no_modules_form_a_cycle() -> None:
    try:
        list(TopologicalSorter(imports()).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_room_exists() -> None:
    used = {room(module) for module in imports()}
    assert set(RANKS) <= used, set(RANKS) - used


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("search.run.loop", "search.cli.run"),
        ("android_bench.runner", "export.pipeline"),
        ("architecture", "network"),
        ("system.files", "formats.json_files"),
        ("hardware.measuring", "cli.common"),
        ("registry", "mhmodels"),
    ],
)
def test_what_points_the_wrong_way_is_found(monkeypatch: pytest.MonkeyPatch, importer: str, imported: str) -> None:
    monkeypatch.setattr(f"{__name__}.imports", lambda: {importer: frozenset({imported})})
    assert wrong_way() == {(importer, imported)}


@pytest.mark.parametrize("package", ["mhmodels", *LINKED])
def test_the_page_names_every_room(package: str) -> None:
    title = f"### mhmodels.{package}\n" if package in LINKED else "### mhmodels\n"
    section = (ROOT / "docs" / "architecture.md").read_text().partition(title)[2].partition("\n### ")[0]
    folder = ROOT / package
    rooms = [path.parent.relative_to(folder).parts for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/__init__.py")]
    assert not {parts for parts in rooms if parts[0] not in LINKED and f"`{parts[-1]}/`" not in section}
