"""Search spaces as vectors of decisions: counting, sampling, encoding, variation.

Nothing here knows what a decision decides. `mhmodels.search.space.template` builds architectures from decisions; tabular spaces
use this class as it is.

An encoding is a row of int16: the index of the choice for every decision. Optional blocks of one stage that read and write the
same shape can be exchanged with skipped blocks between them. The canonical form of an encoding has the skipped blocks last.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.search.arrays import Bools
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.decisions import SKIP, OneOf, describe

Encodings: TypeAlias = NDArray[np.int16]
"""Encodings (n, decisions), or a single one (decisions,)."""
_AT_ONCE = 4096
"""Encodings that an iteration over all members makes at a time."""


class Sizes(NamedTuple):
    """Numbers of members of a space, exact.

    Attributes:
        product: Combinations of TuNAS' independent choices. There, skipping a block is a decision of its own, so that a skipped
            block is counted once for each block that it could have been.
        positional: Encodings. Which block is skipped counts, but not what it could have been.
        distinct: Canonical encodings, which are different networks.
    """

    product: int
    positional: int
    distinct: int


class SearchSpace:
    """A search space: a list of decisions. Spaces are immutable; a restricted space keeps the decisions and the schema.

    Attributes:
        tabular: Whether members are looked up in tables instead of built.
        name: Name of the space.
        note: Which parts of the definition are an interpretation of the source.
        decisions: The decisions in the order of an encoding.
        groups: Columns of optional blocks that can be exchanged, in network order.
        allowed: By decision, (choices,) int16, the indices of the choices that are allowed.
        restrictions: Descriptions of the limits that removed the other choices.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import get_space
        >>> space = get_space("nas_bench_201")
        >>> space.sizes.distinct
        15625
        >>> encodings = space.draw(4, np.random.default_rng(0))
        >>> encodings.shape, space.neighbours(encodings[0]).shape
        ((4, 6), (24, 6))
    """

    tabular = True

    def __init__(
        self,
        name: str,
        decisions: Sequence[OneOf[object]],
        groups: Sequence[Sequence[int]] = (),
        note: str = "",
    ) -> None:
        """Makes a space.

        Args:
            name: Name of the space.
            decisions: The decisions in the order of an encoding.
            groups: Columns of optional blocks that can be exchanged, in network order.
            note: Which parts of the definition are an interpretation of the source.

        Raises:
            SpaceError: Two decisions have the same name, a decision has no choices, or the decisions of a group differ.
        """
        self.name, self.note = name, note
        self.decisions = tuple(decisions)
        self.groups = tuple(tuple(group) for group in groups)
        names = [decision.name for decision in self.decisions]
        if len(set(names)) < len(names) or any(not decision.choices for decision in self.decisions):
            raise SpaceError(f"space '{name}': decisions need different names and at least one choice each: {names}")
        for group in self.groups:
            first = self.decisions[group[0]].choices
            if SKIP not in first or any(self.decisions[column].choices != first for column in group):
                raise SpaceError(f"space '{name}': decisions {group} differ or cannot be skipped, so they cannot be exchanged")
        self.allowed: tuple[NDArray[np.int16], ...] = tuple(np.arange(len(d.choices), dtype=np.int16) for d in self.decisions)
        self.restrictions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self.decisions)} decisions, {float(self.sizes.distinct):.3g} networks>"

    @functools.cached_property
    def schema(self) -> str:
        """Hash of the decisions, 16 hexadecimal digits. Encodings mean the same in spaces with equal schemas."""
        content = [[d.name, d.tag, [describe(choice) for choice in d.choices]] for d in self.decisions]
        return hashlib.sha256(msgspec.json.encode([self.name, content])).hexdigest()[:16]

    @functools.cached_property
    def cardinalities(self) -> NDArray[np.int64]:
        """(decisions,), the number of choices of each decision, choices that a restriction removed included."""
        return np.array([len(decision.choices) for decision in self.decisions], np.int64)

    @functools.cached_property
    def sizes(self) -> Sizes:
        """Numbers of members."""
        grouped = {column for group in self.groups for column in group}
        product = positional = distinct = 1
        for column, allowed in enumerate(self.allowed):
            count, skips = len(allowed), self._skip(column) is not None
            product *= 2 * (count - 1) if skips and count > 1 and column in grouped else count
            positional *= count
            distinct *= 1 if column in grouped else count
        for group in self.groups:
            distinct *= self._distinct(group)
        return Sizes(product, positional, distinct)

    def check(self, encodings: ArrayLike) -> Encodings:
        """Checks encodings.

        Args:
            encodings: (n, decisions) or (decisions,), integers.

        Returns:
            (n, decisions), int16.

        Raises:
            SpaceError: The number of decisions differs, or a choice does not exist or is not allowed.
        """
        rows = np.asarray(encodings)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != len(self.decisions) or not np.issubdtype(rows.dtype, np.integer):
            length = f"{rows.shape[1]} of them" if rows.ndim == 2 and np.issubdtype(rows.dtype, np.integer) else ""
            raise SpaceError(
                f"space '{self.name}': an encoding is {len(self.decisions)} whole numbers, one a decision; found "
                f"{length or f'{rows.dtype} {rows.shape}'}"
            )
        bad = self._wrong(rows)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            decision, found = self.decisions[column], int(rows[row, column])
            allowed = ", ".join(f"{i} ({describe(decision.choices[i])})" for i in self.allowed[column][:8])
            more = " …" if len(self.allowed[column]) > 8 else ""
            raise SpaceError(
                f"space '{self.name}': encoding {row}, decision '{decision.name}' is {found}, expected one of {allowed}{more}"
            )
        return rows.astype(np.int16)

    def members(self, encodings: Encodings) -> Bools:
        """(n,), whether each encoding (n, decisions) of the unrestricted space is a member."""
        return np.asarray(~self._wrong(encodings).any(axis=1))

    def contains(self, member: object) -> bool:
        """Whether an encoding (decisions,) is a member."""
        try:
            self.check(np.asarray(member))
        except SpaceError:
            return False
        return True

    def canonical(self, encodings: Encodings) -> Encodings:
        """Moves the skipped blocks of every stage to its end, so that equal rows mean equal networks.

        Args:
            encodings: (n, decisions), int16.
        """
        result = encodings.copy()
        for group in self.groups:
            columns = list(group)
            part = result[:, columns]
            # By all choices, not the allowed ones: a restriction may force the first blocks of a group.
            skipped = part == self.decisions[columns[0]].choices.index(SKIP)
            if skipped.any():
                result[:, columns] = np.take_along_axis(part, np.argsort(skipped, axis=1, kind="stable"), axis=1)
        return result

    def draw(self, n: int, rng: np.random.Generator, *, depth: Literal["decisions", "uniform"] = "decisions") -> Encodings:
        """Draws canonical encodings at random, repetitions included.

        Args:
            n: Number of encodings.
            rng: Random generator.
            depth: Distribution of the number of optional blocks of a stage. `decisions`: every decision is uniform, with
                skipping as one of its choices. `uniform`: every depth is equally likely.

        Returns:
            (n, decisions), int16.
        """
        rows = np.empty((n, len(self.decisions)), np.int16)
        for column, allowed in enumerate(self.allowed):
            rows[:, column] = allowed[rng.integers(len(allowed), size=n)]
        if depth == "uniform":
            for group in self.groups:
                self._draw_depth(rows, group, rng)
        return self.canonical(rows)

    def mutate(self, encodings: ArrayLike, rng: np.random.Generator, rate: float | None = None) -> Encodings:
        """Changes each decision with some probability to another choice, and at least one decision in every row.

        Args:
            encodings: (n, decisions), integers.
            rng: Random generator.
            rate: Probability that a decision changes, from 0 to 1; None for 1 / (number of decisions with several choices).

        Returns:
            (n, decisions), int16, canonical.

        Raises:
            SpaceError: An encoding is not a member, or the space has a single member.
        """
        rows = self.check(encodings)
        counts = np.array([len(allowed) for allowed in self.allowed])
        free = np.flatnonzero(counts > 1)
        if not len(free):
            raise SpaceError(f"space '{self.name}': nothing to mutate, every decision has one choice")
        chosen = rng.random((len(rows), len(free))) < (1 / len(free) if rate is None else rate)
        chosen[np.arange(len(rows)), rng.integers(len(free), size=len(rows))] |= ~chosen.any(axis=1)
        result = rows.copy()
        for place, column in enumerate(free):
            allowed, where = self.allowed[column], np.flatnonzero(chosen[:, place])
            # A step of 1 to n - 1 around the circle of n choices leads to each other choice with equal probability.
            step = rng.integers(1, len(allowed), size=len(where))
            result[where, column] = allowed[(np.searchsorted(allowed, rows[where, column]) + step) % len(allowed)]
        return self.canonical(result)

    def crossover(self, first: ArrayLike, second: ArrayLike, rng: np.random.Generator) -> Encodings:
        """Makes children that take each decision from one of two parents, equally likely.

        Args:
            first, second: (n, decisions) each, integers.
            rng: Random generator.

        Returns:
            (n, decisions), int16, canonical.

        Raises:
            SpaceError: A parent is not a member, or the numbers of parents differ.
        """
        a, b = self.check(first), self.check(second)
        if a.shape != b.shape:
            raise SpaceError(f"space '{self.name}': {len(a)} first and {len(b)} second parents, expected as many of both")
        return self.canonical(np.where(rng.random(a.shape) < 0.5, a, b))

    def neighbours(self, encoding: ArrayLike) -> Encodings:
        """All networks that differ in one decision, (k, decisions), each once, without the network itself.

        Args:
            encoding: (decisions,), integers.

        Raises:
            SpaceError: The encoding is not a member.
        """
        own = self.canonical(self.check(encoding))[0]
        rows = []
        for column, allowed in enumerate(self.allowed):
            for choice in allowed[allowed != own[column]]:
                row = own.copy()
                row[column] = choice
                rows.append(row)
        around = self.canonical(np.array(rows, np.int16).reshape(-1, len(own)))
        around = around[(around != own).any(axis=1)]
        networks: Encodings = np.unique(around, axis=0)
        return networks

    def __iter__(self) -> Iterator[Encodings]:
        """Yields all canonical encodings (decisions,) in lexicographic order. Feasible for small spaces only."""
        everything = itertools.product(*self.allowed)
        while len(rows := np.array(list(itertools.islice(everything, _AT_ONCE)), np.int16)):
            yield from rows[(self.canonical(rows) == rows).all(axis=1)]

    def one_hot(self, encodings: ArrayLike) -> NDArray[np.uint8]:
        """(n, sum of `cardinalities`), uint8, with a 1 for the choice of every decision.

        Args:
            encodings: (n, decisions), integers.

        Raises:
            SpaceError: An encoding is not a member.
        """
        rows = self.check(encodings)
        starts = np.concatenate([[0], np.cumsum(self.cardinalities)[:-1]])
        result = np.zeros((len(rows), int(self.cardinalities.sum())), np.uint8)
        np.put_along_axis(result, rows + starts, 1, axis=1)
        return result

    def from_one_hot(self, vectors: ArrayLike) -> Encodings:
        """Inverts `one_hot`.

        Args:
            vectors: (n, sum of `cardinalities`), one-hot vectors, or scores of which the largest of each decision counts.

        Returns:
            (n, decisions), int16.

        Raises:
            SpaceError: The vectors have another length, or a choice is not allowed.
        """
        values = np.atleast_2d(np.asarray(vectors))
        if values.shape[1] != self.cardinalities.sum():
            raise SpaceError(f"space '{self.name}': vectors are {values.shape}, expected (n, {self.cardinalities.sum()})")
        parts = np.split(values, np.cumsum(self.cardinalities)[:-1], axis=1)
        return self.check(np.stack([part.argmax(axis=1) for part in parts], axis=1))

    def label(self, encoding: ArrayLike) -> str:
        """Name of a network in tables and in the measurement store: `SPACE:3:0:…`, for an encoding (decisions,)."""
        return ":".join([self.name, *(str(int(i)) for i in np.asarray(encoding))])

    def parse(self, text: str) -> Encodings:
        """Reads an encoding (decisions,) from `3:0:…` or `SPACE:3:0:…`.

        Raises:
            SpaceError: The text is not a list of whole numbers, or the encoding is not a member.
        """
        parts = text.strip().removeprefix(f"{self.name}:").split(":")
        try:
            row = [int(part) for part in parts]
        except ValueError:
            raise SpaceError(f"encoding '{text[:60]}': expected whole numbers as in 3:0:1, of space '{self.name}'") from None
        if any(abs(value) > np.iinfo(np.int16).max for value in row):
            raise SpaceError(f"encoding '{text[:60]}': numbers out of range for space '{self.name}'")
        encoding: Encodings = self.check(row)[0]
        return encoding

    def unrestricted(self) -> Self:
        """Makes the space with all choices of its decisions again."""
        result = object.__new__(type(self))
        result.__dict__.update(self.__dict__)
        for cached in ("sizes", "_permitted"):
            result.__dict__.pop(cached, None)
        result.allowed = tuple(np.arange(count, dtype=np.int16) for count in self.cardinalities)
        result.restrictions = ()
        return result

    def restricted(self, allowed: Sequence[ArrayLike], why: Sequence[str] = ()) -> Self:
        """Makes a space with fewer choices. Encodings and schema stay as they are.

        Args:
            allowed: By decision, the indices of the choices that remain.
            why: Descriptions of the limits that removed the other choices.

        Raises:
            SpaceError: A decision would have no choice left, or a choice that is not allowed now.
        """
        kept = tuple(np.unique(np.asarray(indices, np.int16)) for indices in allowed)
        for decision, before, after in zip(self.decisions, self.allowed, kept, strict=True):
            if not len(after) or not np.isin(after, before).all():
                raise SpaceError(f"space '{self.name}': decision '{decision.name}' would be left with choices {after.tolist()}")
        result = object.__new__(type(self))
        result.__dict__.update(self.__dict__)
        for cached in ("sizes", "_permitted"):
            result.__dict__.pop(cached, None)
        result.schema = self.schema
        result.allowed = kept
        result.restrictions = (*self.restrictions, *why)
        result._check_groups()
        return result

    def _skip(self, column: int) -> int | None:
        """Index of `SKIP` among the choices of a decision, if it is allowed."""
        choices = self.decisions[column].choices
        index = choices.index(SKIP) if SKIP in choices else None
        return index if index is not None and index in self.allowed[column] else None

    @functools.cached_property
    def _permitted(self) -> Bools:
        table = np.zeros((len(self.decisions), int(self.cardinalities.max(initial=1))), bool)
        for column, allowed in enumerate(self.allowed):
            table[column, allowed] = True
        return table

    def _wrong(self, rows: NDArray[np.number[Any]]) -> Bools:
        outside = (rows < 0) | (rows >= self.cardinalities)
        wrong: Bools = outside | ~self._permitted[np.arange(len(self.decisions)), np.where(outside, 0, rows)]
        return wrong

    def _distinct(self, group: tuple[int, ...]) -> int:
        """Number of canonical combinations of a group: ordered sequences of the blocks that are not skipped."""
        blocks = [len(self.allowed[column]) - (self._skip(column) is not None) for column in group]
        optional = [count for column, count in zip(group, blocks, strict=True) if count and self._skip(column) is not None]
        forced = math.prod(count for column, count in zip(group, blocks, strict=True) if self._skip(column) is None)
        count: int = forced * sum(max(optional, default=1) ** depth for depth in range(len(optional) + 1))
        return count

    def _check_groups(self) -> None:
        """Refuses restrictions that exchanging blocks would break: blocks need equal choices, and the last lose depth first."""
        for group in self.groups:
            skips = [self._skip(column) is not None for column in group]
            blocks = [tuple(i for i in self.allowed[column] if self.decisions[column].choices[i] is not SKIP) for column in group]
            filled = [choices for choices in blocks if choices]
            depths = [(not skip, bool(choices)) for skip, choices in zip(skips, blocks, strict=True)]
            if len(set(filled)) > 1 or depths != sorted(depths, reverse=True):
                names = ", ".join(self.decisions[column].name for column in group)
                raise SpaceError(f"space '{self.name}': {names} must keep the same blocks, and lose depth from the last one on")

    def _draw_depth(self, rows: Encodings, group: tuple[int, ...], rng: np.random.Generator) -> None:
        columns = [column for column in group if self._skip(column) is not None]
        if not columns:
            return
        depth = rng.integers(len(columns) + 1, size=len(rows))
        for place, column in enumerate(columns):
            skip = self.decisions[column].choices.index(SKIP)
            blocks = self.allowed[column][self.allowed[column] != skip]
            if len(blocks):
                rows[:, column] = np.where(place < depth, blocks[rng.integers(len(blocks), size=len(rows))], np.int16(skip))
