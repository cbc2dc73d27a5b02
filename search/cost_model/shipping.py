"""Cost models that come with the package: fitted to its own collection (`search/data`), for a start without measuring."""

from __future__ import annotations

from pathlib import Path

from mhmodels.errors import UnknownNameError
from mhmodels.hardware import get_hardware
from search.cost_model.model import CostModel, load_cost_model
from search.space import Space

FOLDER = Path(__file__).with_name("shipped")
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


def remark_on(model: CostModel, path: Path) -> str:
    """That a model (of this file) is of another machine's CPU than the one at hand; "" where it is not, or of something else."""
    there = model.environment
    if not model.hardware.startswith(_HOST) or model.kind != "measured" or there is None:
        return ""
    try:
        hardware, runner = get_hardware(model.hardware)
    except UnknownNameError:
        return ""  # a name of the user's
    here = runner.environment(hardware)
    if there.device == here.device:
        return ""
    which = "the cost model that comes with the package" if path.parent == FOLDER else str(path)
    return (
        f"{model.hardware}: {which} is of {there.device}, this machine is {here.device}; collect and fit for one of your own "
        "(docs/cost-models.md)"
    )
