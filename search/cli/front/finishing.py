"""From the result of a search to its measured front: measures, judges, writes the file of `--front`, and prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhmodels.cli.common import emit_json, note
from mhmodels.errors import MhmodelsError
from mhmodels.search.cli.front import display

if TYPE_CHECKING:
    from mhmodels.search.cli.front.options import FrontSource
    from mhmodels.search.run.front.judging import MeasuredFront
    from mhmodels.search.run.search import SearchResult


def finish(result: SearchResult, source: FrontSource, front_path: Path | None, document: dict[str, Any] | None) -> None:
    """Judges the found front by measured latencies, and writes and prints the result.

    Args:
        result: Finished search, whose files are written.
        source: Function of `FrontOptions.opened`.
        front_path: File of the front; None for none.
        document: JSON values of the search, to which `measured_front` is added; None to print text.

    Raises:
        MhmodelsError: Nothing could be measured, or, after everything is written and printed, members have no latency.
    """
    from mhmodels.search.run.front.judging import judge_front
    from mhmodels.search.run.front.report import measured_document
    from mhmodels.search.run.pareto import front_file
    from mhmodels.system.files import write_atomically

    members = result.front_members()
    try:
        front = judge_front(result.objective, members, source(members))
    except MhmodelsError as error:
        if document is not None:
            emit_json({**document, "measured_front": None})
        raise MhmodelsError(
            f"{error}; the search itself is finished and its files are written: the same command measures its front again"
        ) from error
    measured = measured_document(result.objective, front)
    if front_path is not None:
        write_atomically(front_path, front_file(measured))
    if document is None:
        display.show_front(front, result.label)
        hint = "give --front FILE.json for the members with all their latencies"
        note(f"front written to {front_path}" if front_path is not None else hint)
    else:
        emit_json({**document, "measured_front": measured})
        display.tell_warnings(front)
    if front.missing:
        raise MhmodelsError("\n".join([*front.missing, _summary(front)]))


def _summary(front: MeasuredFront) -> str:
    """What missing latencies mean for the front, and what to do."""
    judged = sum(member.verdict != "no latency" for member in front.members)
    if judged == len(front.members):
        what = "every member was judged, since only hardware of weight 0 lacks latencies"
    elif judged:
        what = f"{judged} of {len(front.members)} members were judged; the others are neither kept nor dropped"
    else:
        what = "no member of the front could be judged"
    if front.source:
        return f"{what}: add the missing networks to the table (--front-latencies), and give the same command again"
    return f"{what}: what was measured is stored, and the same command (--measure-front) measures the rest"
