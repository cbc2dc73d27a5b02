"""What hardware runs, as declared: operations, kernels, activations, channel counts, each profile with its source.

A compiler or delegate says for itself what it takes; these profiles are for hardware that is not at hand, and for limits of
speed that no compiler reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mhmodels.architecture import Architecture
from mhmodels.errors import UnknownNameError
from mhmodels.formats.checked import Checked
from mhmodels.network import Op, lower

SQUEEZE_EXCITE = "squeeze-excite"


class Capabilities(Checked, frozen=True, kw_only=True):
    """One hardware's limits; None and () are no limit.

    Attributes:
        id: the profile's, or the hardware's.
        description: for people.
        source: where the limits are stated.
        required: a network beyond them does not run there as a whole ("×"); else it runs, but badly, and a search space
            should do without.
        max_kernel: largest kernel.
        channel_multiple: every map between operations has a multiple of so many channels; the picture, the scores and
            squeeze-excite's inner layers do not count.
        without: activations, `squeeze-excite`, and poolings by windows (`max_pool`, `average_pool`) that it does not run.
    """

    id: str
    description: str
    source: str
    required: bool = True
    max_kernel: int | None = None
    channel_multiple: int = 1
    without: tuple[str, ...] = ()


PROFILES = (
    Capabilities(
        id="pixel4-edgetpu-2020",
        description="Pixel 4 Edge TPU through NNAPI, drivers of 2020",
        source="arXiv 2008.08178, section 6.1 and table 1: no squeeze-excite and no h-swish; MobileNetV3-Large is unsupported",
        without=(SQUEEZE_EXCITE, "hard_swish"),
    ),
    Capabilities(
        id="hexagon-2020",
        description="Hexagon in Snapdragon 855 through the Hexagon delegate of 2020",
        source="arXiv 2008.08178, section 6.1: kernels of 3 and 5, widths in multiples of 32; others run, slowly (table 1)",
        required=False,
        max_kernel=5,
        channel_multiple=32,
    ),
)


class Excess(NamedTuple):
    """What goes beyond a limit: where, and what."""

    where: str
    what: str


def get_profile(name: str) -> Capabilities:
    """The declared profile of a name.

    Raises:
        UnknownNameError: no such profile.
    """
    for profile in PROFILES:
        if profile.id == name:
            return profile
    raise UnknownNameError("capability profile", name, [profile.id for profile in PROFILES])


def excesses(ops: Iterable[Op], limits: Capabilities) -> Iterator[Excess]:
    """What of these operations goes beyond a hardware's limits."""
    ops = tuple(ops)
    gating = {source for op in ops if op.kind == "multiply" for source in op.inputs[1:]}
    inner = {source for op in ops if op.name in gating for source in op.inputs}
    for op in ops:
        if op.kind == "multiply" and SQUEEZE_EXCITE in limits.without:
            yield Excess(op.name, SQUEEZE_EXCITE)
        for what in (op.activation, op.kind):
            if what in limits.without:
                yield Excess(op.name, str(what))
        if limits.max_kernel is not None and op.kernel > limits.max_kernel:
            yield Excess(op.name, f"kernel {op.kernel}, above {limits.max_kernel}")
        counts = op.kind in ("conv", "depthwise") and (op.batch_norm or op.size != (1, 1)) and op.name not in inner
        if counts and op.channels % limits.channel_multiple:
            yield Excess(op.name, f"{op.channels} channels, no multiple of {limits.channel_multiple}")


def unsupported(architecture: Architecture, limits: Capabilities) -> str:
    """Why a network does not run as a whole on a hardware; "" if it does, or if the limits are of speed only."""
    if not limits.required:
        return ""
    found = list(excesses(lower(architecture).ops, limits))
    if not found:
        return ""
    what = list(dict.fromkeys(excess.what for excess in found))
    return f"{limits.id} does not run {', '.join(what[:3])} ({len(found)} operations, first {found[0].where})"
