"""`mhmodels search space`: one search space, or the list of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import console, emit_json, json_option, note
from mhmodels.search.cli.options import LimitOptions, limit_options

if TYPE_CHECKING:
    from rich.table import Table

    from mhmodels.search.space.decisions import OneOf
    from mhmodels.search.space.limits import Membership
    from mhmodels.search.space.restriction import Removal
    from mhmodels.search.space.search_space import SearchSpace

_SHOWN = 4


@click.command("space")
@click.argument("words", nargs=-1, metavar="[NAME]")
@limit_options
@click.option(
    "--member",
    "members",
    multiple=True,
    metavar="MODEL",
    help="Say whether MODEL (a zoo name or an architecture file) is a member of the space, and which hardware runs it.",
)
@json_option
def space_command(words: tuple[str, ...], restriction: LimitOptions, members: tuple[str, ...], as_json: bool) -> None:
    """Show a search space: its decisions, its exact size, and the choices that given hardware does not support.

    NAME may also be a published reduction, or the file of a reduced space. Without NAME, list all spaces.
    """
    from mhmodels.search.space.catalogue import get_space, space_makers
    from mhmodels.search.space.limits import hardware_limits, membership, restricted
    from mhmodels.search.space.loading import load_space

    spaces = [load_space(words[0])] if words else [get_space(one) for one in space_makers()]
    if not words:
        if restriction.limits or members:
            raise click.UsageError("--hardware and --member need the NAME of a space")
        if as_json:
            emit_json({"spaces": [document(space) for space in spaces], "reduced": _reduced()})
            return
        console().print(listing(spaces))
        console().print("published reductions of them, which are spaces as well:")
        console().print(_reduced_listing())
        return
    # `--hardware A B` means the same as `--hardware A,B`.
    limits = hardware_limits((*restriction.limits, *words[1:]), note, probe=restriction.probe)
    space, removals = restricted(spaces[0], limits)
    checked = [membership(space, model, limits) for model in members]
    if as_json:
        removed = [removal._asdict() for removal in removals]
        emit_json({**document(space), "removed": removed, "members": [_membership_document(one) for one in checked]})
        return
    show(space, removals, checked)


def document(space: SearchSpace) -> dict[str, object]:
    """A space as JSON values; sizes are exact integers."""
    import msgspec

    from mhmodels.search.space.decisions import describe
    from mhmodels.search.space.template import ArchitectureSpace

    coupled = space.coupled_features() if isinstance(space, ArchitectureSpace) else None
    return {
        "name": space.name,
        "schema": space.schema,
        "tabular": space.tabular,
        "note": space.note,
        "input_sizes": space.input_sizes if isinstance(space, ArchitectureSpace) else [],
        # Raw, because msgspec's integers end at 64 bits.
        "sizes": {name: msgspec.Raw(str(size).encode()) for name, size in space.sizes._asdict().items()},
        "coupled_features": None if coupled is None else {"declared": coupled[0], "effective": coupled[1]},
        "decisions": [
            {"name": decision.name, "tag": decision.tag, "choices": [describe(decision.choices[i]) for i in allowed]}
            for decision, allowed in zip(space.decisions, space.allowed, strict=True)
        ],
    }


def _reduced() -> list[dict[str, object]]:
    """Names and notes of the published reductions, with the number of networks that are left."""
    import msgspec

    from mhmodels.search.space.published_reductions import published_reductions, published_space

    return [
        {"name": name, "space": one.space, "note": one.note, "distinct": msgspec.Raw(str(size).encode())}
        for name, one in published_reductions().items()
        for size in [published_space(name).sizes.distinct]
    ]


def _reduced_listing() -> Table:
    from rich.table import Table

    from mhmodels.search.space.published_reductions import published_reductions, published_space

    table = Table("space", "different networks", "note")
    for name, one in published_reductions().items():
        table.add_row(name, count_text(published_space(name).sizes.distinct), one.note)
    return table


def _membership_document(found: Membership) -> dict[str, object]:
    return found._asdict() | {"hardware": {name: verdict._asdict() for name, verdict in found.hardware.items()}}


def listing(spaces: Sequence[SearchSpace]) -> Table:
    """A table of spaces for the terminal."""
    from rich.table import Table

    table = Table("space", "decisions", "different networks", "kind", "note")
    for space in spaces:
        kind = "tabular" if space.tabular else "architectures"
        table.add_row(space.name, str(len(space.decisions)), count_text(space.sizes.distinct), kind, space.note)
    return table


def count_text(count: int) -> str:
    """A count for people: exact where it is short, else with a power of ten.

    Example:
        >>> count_text(46656), count_text(5 * 10**20)
        ('46 656', '5.00e20')
    """
    if count < 10**7:
        return f"{count:,}".replace(",", " ")
    exponent = int(math.log10(count))
    return f"{count / 10**exponent:.2f}e{exponent}"


def show(space: SearchSpace, removals: Sequence[Removal], checked: Sequence[Membership]) -> None:
    """Prints a space, the choices that hardware removed from it, and whether the given networks are members."""
    from rich.table import Table

    out, sizes = console(), space.sizes
    out.print(
        f"{space.name}: {count_text(sizes.distinct)} different networks "
        f"({count_text(sizes.positional)} encodings, {count_text(sizes.product)} combinations of choices), schema {space.schema}"
    )
    if space.note:
        out.print(space.note)
    table = Table("decision", "choices", "what")
    for decision, allowed in zip(space.decisions, space.allowed, strict=True):
        table.add_row(decision.name, str(len(allowed)), ", ".join(_choices(decision, allowed.tolist())))
    out.print(table)
    for removal in removals:
        out.print(f"removed by {removal}")
    for one in checked:
        marks = ", ".join(
            f"{name} {verdict.mark}{' (' + ', '.join(verdict.because[:3]) + ')' if verdict.because else ''}"
            for name, verdict in one.hardware.items()
        )
        out.print(f"{one.model}: {'member' if one.member else 'no member'}{'; ' + marks if marks else ''}")
        if one.why_not:
            out.print(f"  {one.why_not}")


def _choices(decision: OneOf[object], allowed: Sequence[int]) -> list[str]:
    """Choices in words; of many operations, which are long and alike, the first ones and the last."""
    from mhmodels.search.space.decisions import describe

    names = [describe(decision.choices[i]) for i in allowed]
    if decision.tag != "operation" or len(names) <= _SHOWN:
        return names
    return [*names[: _SHOWN - 2], "…", names[-1]]
