"""Data that comes with the package: collections of latencies (`search/data`), and cost models fitted to one of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from mhmodels.errors import UnknownNameError
from mhmodels.hardware import Environment, get_hardware
from mhmodels.search.cost_model.latencies.provenance import provenance_of
from mhmodels.search.cost_model.model import CostModel, load_cost_model
from mhmodels.search.space.search_space import SearchSpace

FOLDER = Path(__file__).with_name("shipped")
DATA = Path(__file__).parents[1] / "data"
_HOST = "host-cpu-"


def shipped_hardware(space: SearchSpace | str) -> tuple[str, ...]:
    """Hardware ids for which a cost model of a space comes with the package.

    Args:
        space: A space, or its name.

    Example:
        >>> from mhmodels.search import shipped_hardware
        >>> "ethos-u55-128" in shipped_hardware("multi_hardware")
        True
    """
    name = space if isinstance(space, str) else space.name
    return tuple(sorted(path.stem.removeprefix(f"{name}_") for path in FOLDER.glob(f"{name}_*.json")))


def model_path(space: str, word: Path) -> Path:
    """Resolves a path of a cost model, or the hardware id of a shipped one.

    Args:
        space: Name of the space of shipped cost models.
        word: Path or hardware id. A word that ends with .json is always a path, whether the file exists or not.

    Raises:
        UnknownNameError: The word is neither an existing file nor the hardware of a shipped cost model.
    """
    if word.suffix == ".json" or word.exists():
        return word.absolute()
    shipped = FOLDER / f"{space}_{word}.json"
    if word.name != str(word) or not shipped.is_file():
        known = shipped_hardware(space)
        raise UnknownNameError(f"cost model of '{space}'", str(word), known, "(or give the path of a cost model .json file)")
    return shipped


def shipped_model(space: SearchSpace | str, hardware: str) -> CostModel:
    """Loads the cost model of a space and a hardware that comes with the package.

    A cost model of a host CPU is of the CPU in its `environment`, which may differ from the CPU of this machine.

    Args:
        space: A space, or its name.
        hardware: Hardware id, see `shipped_hardware`.

    Raises:
        UnknownNameError: No such cost model comes with the package; the message names the available hardware.
        CostModelError: The space is not the one that the model was fitted on.

    Example:
        >>> from mhmodels.search import shipped_model
        >>> shipped_model("multi_hardware", "ethos-u55-128").kind
        'estimated'
    """
    name = space if isinstance(space, str) else space.name
    path = FOLDER / f"{name}_{hardware}.json"
    if not path.is_file():
        raise UnknownNameError(f"hardware with a shipped cost model of '{name}'", hardware, shipped_hardware(space))
    model = load_cost_model(path)
    model.check(space=None if isinstance(space, str) else space, hardware=hardware)
    return model


def table_path(word: Path) -> Path:
    """Resolves a path of a table of latencies, or the name of a shipped collection.

    Args:
        word: Path or name. A word with a suffix is always a path, whether the file exists or not.

    Raises:
        UnknownNameError: The word is neither an existing file nor the name of a shipped collection.
    """
    if word.suffix or word.exists():
        return word.absolute()
    shipped = DATA / f"{word}.csv"
    if word.name != str(word) or not shipped.is_file():
        known = sorted(path.stem for path in DATA.glob("*.csv"))
        raise UnknownNameError("collection of latencies", str(word), known, "(or give the path of an .npz or .csv file)")
    return shipped


def shipped_tables(space: SearchSpace | str) -> tuple[Path, ...]:
    """Paths of the collections of latencies of a space that come with the package, sorted.

    Args:
        space: A space, or its name.
    """
    name = space if isinstance(space, str) else space.name
    return tuple(path for path in sorted(DATA.glob("*.csv")) if path.stem == name or path.stem.startswith(f"{name}_"))


def remark_on(model: CostModel, path: Path) -> str:
    """Remark that a cost model was measured on another CPU than this machine's, "" if it was not; `path` is its file."""
    if model.kind != "measured":
        return ""
    which = "the cost model that comes with the package" if path.parent == FOLDER else str(path)
    remark = _other_cpu(model.hardware, model.environment, which)
    return remark and f"{remark}; collect and fit for one of your own (docs/cost-models.md)"


def remarks_on_table(path: Path, space: SearchSpace, hardware: Collection[str]) -> Iterator[str]:
    """Yields such remarks about a table that `search collect -o` wrote.

    Args:
        path: The table.
        space: Space of its networks.
        hardware: Hardware ids to check; empty for all in the table.
    """
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
        return ""  # an id of the user's own
    here = runner.environment(hardware)
    return "" if there.device == here.device else f"{hardware_id}: {which} is of {there.device}, this machine is {here.device}"
