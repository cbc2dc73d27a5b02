"""What comes with the package for a start without measuring: its collections (`search/data`), and cost models fitted to one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from mhmodels.errors import UnknownNameError
from mhmodels.hardware import Environment, get_hardware
from mhmodels.search.cost_model.latencies.provenance import provenance_of
from mhmodels.search.cost_model.model import CostModel, load_cost_model
from mhmodels.search.space.search_space import Space

FOLDER = Path(__file__).with_name("shipped")
DATA = Path(__file__).parents[1] / "data"
_HOST = "host-cpu-"


def shipped_hardware(space: Space | str) -> tuple[str, ...]:
    """Hardware ids for which a model of a space comes with the package."""
    name = space if isinstance(space, str) else space.name
    return tuple(sorted(path.stem.removeprefix(f"{name}_") for path in FOLDER.glob(f"{name}_*.json")))


def model_path(space: str, word: Path) -> Path:
    """The file that `--cost-model WORD` means: one that exists, or the shipped model of that hardware.

    Raises:
        UnknownNameError: neither; a word that ends with .json stays a path, whose reader says that it is missing.
    """
    if word.suffix == ".json" or word.exists():
        return word.absolute()
    shipped = FOLDER / f"{space}_{word}.json"
    if word.name != str(word) or not shipped.is_file():
        known = shipped_hardware(space)
        raise UnknownNameError(f"cost model of '{space}'", str(word), known, "(or give the path of a cost model .json file)")
    return shipped


def shipped_model(space: Space | str, hardware: str) -> CostModel:
    """The cost model of a space and a hardware that comes with the package.

    A host's model is of the CPU in its `environment`, which need not be the one at hand (`remark_on`).

    Raises:
        UnknownNameError: there is none; the message says for which hardware there are.
        CostModelError: the space is not the one that it was fitted on.
    """
    name = space if isinstance(space, str) else space.name
    path = FOLDER / f"{name}_{hardware}.json"
    if not path.is_file():
        raise UnknownNameError(f"hardware with a shipped cost model of '{name}'", hardware, shipped_hardware(space))
    model = load_cost_model(path)
    model.check(space=None if isinstance(space, str) else space, hardware=hardware)
    return model


def table_path(word: Path) -> Path:
    """The file that `--latencies WORD` means: one with a suffix or one that exists, or the collection of that name.

    Raises:
        UnknownNameError: neither.
    """
    if word.suffix or word.exists():
        return word.absolute()
    shipped = DATA / f"{word}.csv"
    if word.name != str(word) or not shipped.is_file():
        known = sorted(path.stem for path in DATA.glob("*.csv"))
        raise UnknownNameError("collection of latencies", str(word), known, "(or give the path of an .npz or .csv file)")
    return shipped


def remark_on(model: CostModel, path: Path) -> str:
    """That a model (of this file) is of another machine's CPU than the one at hand; "" where it is not, or of something else."""
    if model.kind != "measured":
        return ""
    which = "the cost model that comes with the package" if path.parent == FOLDER else str(path)
    remark = _other_cpu(model.hardware, model.environment, which)
    return remark and f"{remark}; collect and fit for one of your own (docs/cost-models.md)"


def remarks_on_table(path: Path, space: Space, hardware: Collection[str]) -> Iterator[str]:
    """The same of latencies that `search collect -o` wrote, on these hardware; on all of them if none is given."""
    found = provenance_of(path, space)
    which = "the collection that comes with the package" if path.parent == DATA else str(path)
    for name, environment in (found.environments if found is not None else {}).items():
        remark = _other_cpu(name, environment, which) if not hardware or name in hardware else ""
        if remark:
            yield f"{remark}; collect your own (docs/cost-models.md)"


def _other_cpu(hardware_id: str, there: Environment | None, which: str) -> str:
    if not hardware_id.startswith(_HOST) or there is None:
        return ""
    try:
        hardware, runner = get_hardware(hardware_id)
    except UnknownNameError:
        return ""  # a name of the user's
    here = runner.environment(hardware)
    return "" if there.device == here.device else f"{hardware_id}: {which} is of {there.device}, this machine is {here.device}"
