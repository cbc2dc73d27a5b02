"""The fixture that every benchmark states its figures with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .figures import Figures


@pytest.fixture
def figures(benchmark: Any) -> Iterator[Figures]:
    """Figures of a benchmark, which must assert something that holds on any machine."""
    stated = Figures(benchmark)
    yield stated
    assert stated.asserted, "this benchmark asserts nothing that holds on any machine: call figures.holds"
