"""Which layers of a network cost most on a hardware, why, and what changing their blocks would save.

from mhmodels import get_architecture
from mhmodels.advice import advise
advice = advise(get_architecture("multi_max"), "ethos-u65-256")
print(advice.findings[0], advice.changes[0].saves)
"""

from __future__ import annotations

from mhmodels.advice.advising import Advice, advise
from mhmodels.advice.findings import LayerAdvice
from mhmodels.advice.picture import draw_profile
from mhmodels.advice.savings import ChangeResult

__all__ = ["Advice", "ChangeResult", "LayerAdvice", "advise", "draw_profile"]
