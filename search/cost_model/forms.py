"""Forms of cost models: which weights a network touches, as indices.

- `structural`: features of the operations, tied over the network, and deviations of single blocks; predicts any architecture.
- `coupled`: a weight for each operation at each position and pair of widths (TuNAS, arXiv 2008.06120).
- `pairwise`: a weight for each choice and each pair of choices, for tabular spaces.
- `adapted`: latencies of other hardware, adapted to this one (`mhmodels.search.cost_model.adapted`); it has no weights.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

Form: TypeAlias = Literal["structural", "coupled", "pairwise", "adapted"]


def check_form(form: Form, space: SearchSpace) -> None:
    """Refuses a form that a space cannot have: `pairwise` is for tabular spaces, `structural` for architecture spaces.

    Raises:
        CostModelError: The space cannot have the form.
    """
    if (form == "pairwise") != space.tabular and form not in ("coupled", "adapted"):
        raise CostModelError(f"space '{space.name}' {'is' if space.tabular else 'is not'} tabular: a {form} model is not for it")


def usual_form(space: SearchSpace) -> Form:
    """The form that suits a space, if none is asked for."""
    return "pairwise" if space.tabular else "structural"


def form_rows(space: SearchSpace, encodings: Encodings, form: Form) -> NDArray[np.int32]:
    """Indices of the weights that each network touches.

    Args:
        space: Space of the networks.
        encodings: (n, decisions), int16.
        form: Form of the cost model.

    Returns:
        (n, k), int32: rows of the space's table, or positions of choices and pairs of choices for a tabular space.
    """
    if builds(space):
        # A structural model ignores the order of interchangeable blocks; a coupled model has weights for each position.
        return space.rows(space.canonical(encodings) if form == "coupled" else encodings)
    starts = np.concatenate([[0], np.cumsum(space.cardinalities)[:-1]]).astype(np.int32)
    single = encodings.astype(np.int32) + starts
    if form != "pairwise":
        return single
    columns, offset = [single], int(space.cardinalities.sum())
    for i in range(len(space.decisions)):
        for j in range(i):
            count = int(space.cardinalities[j])
            columns.append((offset + encodings[:, [i]].astype(np.int32) * count + encodings[:, [j]]).astype(np.int32))
            offset += int(space.cardinalities[i]) * count
    return np.concatenate(columns, axis=1)


def form_row_count(space: SearchSpace, form: Form) -> int:
    """Number of different indices that `form_rows` returns."""
    if builds(space):
        return space.row_count
    cards = space.cardinalities
    pairs = sum(int(cards[i]) * int(cards[j]) for i in range(len(cards)) for j in range(i))
    return int(cards.sum()) + (pairs if form == "pairwise" else 0)


def touched_rows(space: SearchSpace, encodings: Encodings, form: Form) -> sparse.csr_array:
    """(n, rows), how often each network touches each weight of the form: a table row that a network uses twice counts twice.

    Args:
        space: Space of the networks.
        encodings: (n, decisions), int16.
        form: Form of the cost model.
    """
    touched = form_rows(space, encodings, form)
    n, width = touched.shape
    shape = (n, form_row_count(space, form))
    return sparse.csr_array((np.ones(n * width), touched.ravel(), np.arange(0, n * width + 1, width)), shape=shape)


def builds(space: SearchSpace) -> TypeGuard[ArchitectureSpace]:
    """Whether members of a space are architectures."""
    return isinstance(space, ArchitectureSpace)
