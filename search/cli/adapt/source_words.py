"""Sources of `search adapt` as the command line names them: files of latencies, cost models, ids of hardware."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import note
from mhmodels.errors import UnknownNameError
from mhmodels.search.errors import CostModelError

if TYPE_CHECKING:
    from mhmodels.search.adaptation.sources import SourceInput
    from mhmodels.search.cost_model.latencies.dataset import Latencies
    from mhmodels.search.cost_model.latencies.stored import StoredHardware
    from mhmodels.search.space.search_space import SearchSpace


def read_sources(space: SearchSpace, words: Sequence[str], target: str, store: str | None) -> dict[str, SourceInput]:
    """Reads sources, and prints remarks on them.

    Args:
        space: Space of the networks.
        words: Values of `--source`.
        target: Id of the target, which is no source of itself.
        store: Value of `--store`.

    Returns:
        Latencies or cost models by hardware id.

    Raises:
        click.UsageError: Two sources have the same id, or the target is the only source.
        UnknownNameError: A word is neither a file nor hardware with latencies.
        CostModelError: The store has latencies of a hardware that cannot be used together.
        MhmodelsError: A file cannot be read, or is of another space.
    """
    found: dict[str, SourceInput] = {}
    for word in words:
        named = dict(_read(space, word, store))
        if target in named and len(named) > 1:
            named.pop(target)
            note(f"{word}: its latencies on '{target}' are left out, since that is the target")
        for name, source in named.items():
            if name == target:
                raise click.UsageError(f"--source {word} is of '{target}', which is the target: expected other hardware")
            if name in found:
                raise click.UsageError(f"two sources are of hardware '{name}', the second is --source {word}: expected one")
            found[name] = source
    return found


def _read(space: SearchSpace, word: str, store: str | None) -> Iterator[tuple[str, SourceInput]]:
    from mhmodels.search.cost_model.latencies.reading import read_all_hardware
    from mhmodels.search.cost_model.model import load_cost_model, naming

    path = Path(word)
    if path.suffix == ".json":
        model = load_cost_model(path)
        with naming(path):
            model.check(space=space)
        for doubt in model.doubts:
            note(f"warning: {path}: {doubt}")
        yield model.hardware, model
    elif path.suffix or path.exists():
        for name, latencies in read_all_hardware(path, space).items():
            for remark in latencies.remarks:
                note(f"{path}: {remark}")
            yield name, latencies
    else:
        yield word, _of_hardware(space, word, store)


def _of_hardware(space: SearchSpace, hardware: str, store: str | None) -> SourceInput:
    """The cost model in the package, the rows of the store, or the collection in the package."""
    from mhmodels.search.cost_model.shipping import FOLDER, remark_on, shipped_hardware, shipped_model

    if store is None and hardware in shipped_hardware(space):
        model = shipped_model(space, hardware)
        if remark := remark_on(model, FOLDER / f"{space.name}_{hardware}.json"):
            note(remark)
        return model
    stored = _stored(space, store, [hardware])
    reason = stored.left_out.get(hardware)
    if reason is not None and store is not None:
        raise CostModelError(reason)
    found = stored.latencies or _collected(space, [hardware])
    if hardware in found:
        if reason is not None:
            note(f"warning: {reason}; the collection of the package is used instead")
        for remark in found[hardware].remarks:
            note(f"{hardware}: {remark}")
        return found[hardware]
    if reason is not None:
        raise CostModelError(reason)
    raise UnknownNameError(
        f"hardware with latencies of '{space.name}'",
        hardware,
        {*shipped_hardware(space), *_stored(space, store).latencies, *_collected(space)},
        "(or give a file of latencies, or a cost model .json file)",
    )


def _stored(space: SearchSpace, store: str | None, hardware: Collection[str] = ()) -> StoredHardware:
    """Latencies of a store by hardware id: of some hardware, of all by default."""
    from mhmodels.errors import StoreError
    from mhmodels.search.cost_model.latencies.stored import StoredHardware, stored_on_all_hardware
    from mhmodels.store import Store

    try:
        with Store(store, read_only=True) as rows:
            return stored_on_all_hardware(rows, space, hardware)
    except StoreError:
        if store is not None and Path(store).exists():
            raise
        return StoredHardware({}, {})


def _collected(space: SearchSpace, hardware: Collection[str] = ()) -> Mapping[str, Latencies]:
    """Latencies of the package's collections by hardware id: of some hardware, of all by default."""
    from mhmodels.search.cost_model.latencies.reading import read_all_hardware
    from mhmodels.search.cost_model.shipping import shipped_tables

    return {name: one for path in shipped_tables(space) for name, one in read_all_hardware(path, space, hardware).items()}
