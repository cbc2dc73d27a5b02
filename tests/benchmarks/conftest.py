"""The fixture that every benchmark states its figures with, and the rule that it asserts something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .figures import Figures


@pytest.fixture
def figures(benchmark: Any) -> Figures:
    """Figures of a benchmark."""
    return Figures(benchmark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: Any) -> Iterator[None]:
    """Fails benchmarks that pass without having asserted anything that holds on any machine."""
    yield
    stated = item.funcargs.get("figures")
    assert stated is not None, "this benchmark states no figures: take the fixture 'figures'"
    assert stated.asserted, "this benchmark asserts nothing that holds on any machine: call figures.holds"
