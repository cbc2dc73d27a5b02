"""Which delegates can run on a phone, as far as can be told without trying."""

from __future__ import annotations

import re

from mhmodels.android_bench.delegates.delegate import Delegate
from mhmodels.android_bench.device.description import PhoneFacts


def obstacle(delegate: Delegate, facts: PhoneFacts) -> str:
    """Why a delegate cannot run on a device, as far as can be told without trying; "" if nothing is known against it."""
    if facts.sdk and facts.sdk < delegate.min_sdk:
        return f"needs Android API {delegate.min_sdk}, this is {facts.sdk}"
    if delegate.platforms and not any(re.search(delegate.platforms, name) for name in (facts.platform, *facts.soc.split())):
        return f"not for this chip ({facts.soc or facts.platform or 'unknown'})"
    if delegate.libraries and not facts.libraries & set(delegate.libraries):
        return f"none of its libraries is there ({delegate.libraries[0]}, …)"
    return ""


def remark(delegate: Delegate, facts: PhoneFacts) -> str:
    """What to know about a delegate on a device although it may run: that it is deprecated, and what it needs."""
    remarks = []
    if delegate.deprecated_sdk and facts.sdk >= delegate.deprecated_sdk:
        remarks.append(f"deprecated ({delegate.note}); its successor is {delegate.successor}")
    if delegate.files:
        remarks.append(f"needs {', '.join(delegate.files)} from a folder of yours")
    return "; ".join(remarks)
