"""Covering arrays: few rows in which every value of one factor meets every value of every other."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence

Row = dict[str, Hashable]


def covering_rows(factors: Mapping[str, Sequence[Hashable]]) -> list[Row]:
    """Rows that hold every pair of values of two different factors, found greedily; always the same ones.

    Each row starts from a pair that is still missing and takes, factor by factor, the value that adds the most missing
    pairs; among equals the one that has been used least.
    """
    names = list(factors)
    missing = {frozenset({(a, x), (b, y)}) for a, b in itertools.combinations(names, 2) for x in factors[a] for y in factors[b]}
    used = {(name, value): 0 for name in names for value in factors[name]}
    rows = []
    while missing:
        row: Row = dict(min(missing, key=repr_pair))
        for name in names:
            if name in row:
                continue
            row[name] = max(factors[name], key=lambda value, at=name: (_gain(row, at, value, missing), -used[at, value]))
        missing -= {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
        for item in row.items():
            used[item] += 1
        rows.append({name: row[name] for name in names})
    return rows


def repr_pair(pair: frozenset[tuple[str, Hashable]]) -> list[str]:
    """A stable order of pairs: sets of strings are ordered by a hash that changes with every process."""
    return sorted(map(repr, pair))


def _gain(row: Row, name: str, value: Hashable, missing: set[frozenset[tuple[str, Hashable]]]) -> int:
    return sum(frozenset({(name, value), item}) in missing for item in row.items())
