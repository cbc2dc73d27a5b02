"""Declared capabilities of hardware: operations, kernels, activations and channel counts, each profile with its source.

A compiler or a delegate reports by itself what it takes. These profiles are for hardware that is not at hand, and for limits
of speed that no compiler reports.
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
    """Limits of one hardware.

    Attributes:
        id: Id of the profile, or of the hardware.
        description: One line for people.
        source: Publication or manual that states the limits.
        required: Whether a network beyond the limits does not run there as a whole ("×"). If not, it runs slowly, and a search
            space should do without.
        max_kernel: Largest kernel; None for no limit.
        channel_multiple: Number that the channels of every feature map are a multiple of; 1 for no limit. The picture, the
            scores and the inner layers of squeeze-excite do not count.
        without: Activations, `squeeze-excite`, and window poolings (`max_pool`, `average_pool`) that it does not run.

    Example:
        >>> from mhmodels.hardware import Capabilities
        >>> Capabilities(id="my-npu", description="My NPU", source="data sheet", max_kernel=5, without=("hard_swish",)).required
        True
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
    """Something in a network that is beyond a limit.

    Attributes:
        where: Name of the operation.
        what: Activation, operation, kernel or number of channels.
    """

    where: str
    what: str


def get_profile(name: str) -> Capabilities:
    """The declared profile of a name.

    Raises:
        UnknownNameError: No such profile.

    Example:
        >>> from mhmodels.hardware import get_profile
        >>> get_profile("hexagon-2020").channel_multiple
        32
    """
    for profile in PROFILES:
        if profile.id == name:
            return profile
    raise UnknownNameError("capability profile", name, [profile.id for profile in PROFILES])


def excesses(ops: Iterable[Op], limits: Capabilities) -> Iterator[Excess]:
    """Finds what in these operations is beyond a hardware's limits."""
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
    """Says why a network does not run as a whole on a hardware; "" if it does, or if the limits are of speed only.

    Example:
        >>> from mhmodels.hardware import get_profile, unsupported
        >>> from mhmodels import get_architecture
        >>> unsupported(get_architecture("mobilenet_v3_large"), get_profile("pixel4-edgetpu-2020")).partition(" (")[0]
        'pixel4-edgetpu-2020 does not run hard_swish, squeeze-excite'
        >>> unsupported(get_architecture("multi_max"), get_profile("pixel4-edgetpu-2020"))
        ''
    """
    if not limits.required:
        return ""
    found = list(excesses(lower(architecture).ops, limits))
    if not found:
        return ""
    what = list(dict.fromkeys(excess.what for excess in found))
    return f"{limits.id} does not run {', '.join(what[:3])} ({len(found)} operations, first {found[0].where})"
