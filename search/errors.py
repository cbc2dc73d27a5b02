"""Errors of spaces, cost models and searches that users can fix."""

from __future__ import annotations

from mhmodels.errors import MhmodelsError


class SpaceError(MhmodelsError, ValueError):
    """An encoding or architecture is not a member of a space, or the definition of a space is wrong.

    Example:
        >>> from mhmodels.search import SpaceError, get_space
        >>> try:
        ...     get_space("nas_bench_201").check([0, 0, 0, 0, 0, 9])
        ... except SpaceError as error:
        ...     print(error)
        space 'nas_bench_201': encoding 0, decision '3<-2' is 9, expected one of 0 (none), 1 (skip_connect), 2 (nor_conv_1x1), \
3 (nor_conv_3x3), 4 (avg_pool_3x3)
    """


class CostModelError(MhmodelsError, ValueError):
    """Latencies cannot be fitted, or a cost model does not apply to a space, network or hardware.

    Example:
        >>> from mhmodels.search import CostModelError, shipped_model
        >>> try:
        ...     shipped_model("multi_hardware", "ethos-u55-128").check(hardware="my-phone")
        ... except CostModelError as error:
        ...     print(str(error).partition(":")[0])
        the cost model is for hardware 'ethos-u55-128', not 'my-phone'
    """


class SearchError(MhmodelsError, ValueError):
    """A search cannot run as requested, for example because its target is out of reach.

    Example:
        >>> from mhmodels.search import Reward, SearchError
        >>> try:
        ...     Reward(references={})
        ... except SearchError as error:
        ...     print(error)
        reward: field 'references' is empty, expected a latency in ms for at least one hardware
    """
