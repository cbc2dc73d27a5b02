"""What `search adapt` reports: the decision, the sources, and how well left-out measurements are predicted."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhmodels.cli.common import console, note

if TYPE_CHECKING:
    from mhmodels.search.adaptation.loop import MeasuredAdaptation
    from mhmodels.search.adaptation.sources import PreparedSources
    from mhmodels.search.cost_model.model import CostModel

_NAMED = 5
"""Number of set-aside measurements that are named."""
_STOPPED = {
    "enough": "the interval of the rank correlation reached --enough",
    "budget": "the budget is used up",
    "candidates": "there are no further networks",
}


def document(
    prepared: PreparedSources, result: MeasuredAdaptation, model: CostModel, output: Path, plot: Path | None
) -> dict[str, Any]:
    """The report as JSON values."""
    from mhmodels.search.adaptation.comparing import compare_sources

    space, adapted = prepared.space, result.adapted
    decision = model.adaptation.decision if model.adaptation is not None else "ada-proxy"
    return {
        "path": str(output),
        "plot": None if plot is None else str(plot),
        "space": space.name,
        "hardware": model.hardware,
        "kind": model.kind,
        "form": model.form,
        "n": model.n,
        "stopped": result.stopped,
        "failed": result.failed,
        "decision": decision,
        "sources": compare_sources(prepared, result.encodings, result.ms),
        "leave_one_out": model.held_out,
        "adapted_error": adapted.adapted_error,
        "rescaled_error": adapted.rescaled_error,
        "rescaled_source": adapted.rescaled_source,
        "set_aside": [
            {"network": space.label(row), "ms": ms, "predicted_ms": predicted}
            for row, ms, predicted, aside in zip(
                result.encodings, result.ms.tolist(), adapted.predicted_ms.tolist(), adapted.set_aside, strict=True
            )
            if aside
        ],
        "steps": [
            {"measured": step.measured, **({} if step.interval is None else step.interval._asdict())} for step in result.steps
        ],
        "doubts": model.doubts,
    }


def show(found: dict[str, Any], result: MeasuredAdaptation, model: CostModel) -> None:
    """Prints the report."""
    from rich.table import Table

    out = console()
    out.print(
        f"{model.form} cost model of {model.hardware} ({model.kind}) on {model.space}, {model.n} networks measured", markup=False
    )
    if result.steps:
        out.print(f"measuring ended: {_STOPPED[result.stopped]}", markup=False)
    table = Table("source", "Spearman", "90 % interval", "its ranking")
    for source in found["sources"]:
        known = source["spearman"] is not None
        interval = f"{source['low']:.3f} to {source['high']:.3f}" if known else ""
        table.add_row(source["hardware"], f"{source['spearman']:.3f}" if known else "?", interval, source["decision"] or "")
    out.print(table, markup=False)
    out.print(_decision(found), markup=False, soft_wrap=True)
    out.print(_left_out(model), markup=False, soft_wrap=True)
    path = shlex.quote(found["path"])
    out.print(f"next: mhmodels search validate --cost-model {path} --data FILE.csv", markup=False, soft_wrap=True)
    out.print(
        f"      mhmodels search run --space {model.space} --cost-model {path} --measure-front ...", markup=False, soft_wrap=True
    )


def _left_out(model: CostModel) -> str:
    """How well each measurement is predicted by a model of the others."""
    report = model.held_out
    error = report.mape if report.median_ape is None else report.median_ape
    spearman = "" if report.spearman is None else f", Spearman {report.spearman:.3f}"
    return f"{report.n} networks left out one by one: median error {error:.1%}, within 10 %: {report.hit_rate_10:.0%}{spearman}"


def _decision(found: dict[str, Any]) -> str:
    errors = f"{found['adapted_error']:.1%} adapted"
    if found["rescaled_source"] is not None:
        errors += f", {found['rescaled_error']:.1%} with '{found['rescaled_source']}' rescaled"
    if found["decision"] == "ada-proxy":
        return "decision: adapted as published (ada-proxy), without the guard"
    if found["decision"] == "rescaled":
        return f"decision: '{found['rescaled_source']}' is reused, rescaled: adapting predicts left-out networks worse ({errors})"
    return f"decision: adapted (mean error of left-out networks: {errors})"


def tell_doubts(prepared: PreparedSources, result: MeasuredAdaptation, model: CostModel) -> None:
    """Prints last which latencies may be in another unit, which were set aside, and what speaks against the model."""
    import numpy as np

    from mhmodels.search.cost_model.latencies.units import unit_gap

    adapted = result.adapted
    medians = {source.hardware: float(np.exp(source.centre)) for source in prepared.sources}
    if gap := unit_gap({**medians, model.hardware: float(np.median(result.ms))}):
        note(f"WARNING: {gap}")
    aside = np.flatnonzero(adapted.set_aside)
    if len(aside):
        named = "; ".join(f"{result.ms[i]:.4g} ms, predicted {adapted.predicted_ms[i]:.4g}" for i in aside[:_NAMED])
        note(f"warning: {len(aside)} measurements contradict the others and were set aside: {named}")
    for doubt in model.doubts:
        note(f"WARNING: {doubt}")
    if model.doubts:
        note("WARNING: the model file carries these warnings, and `search run` refuses it without --force")
