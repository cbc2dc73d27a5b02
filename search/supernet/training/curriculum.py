"""The networks that a step of the super-network trains: samples of the policy and, early in a short search, of a walk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mhmodels.search.methods.controller import Controller
from mhmodels.search.objective.objective import Objective
from mhmodels.search.space.search_space import Encodings
from mhmodels.search.supernet.presets import Preset

_DRAWN, _TRIES, _AT_ONCE = 1000, 20, 64
_WALK, _EVEN = 1, 2  # streams of random numbers of one seed


class Curriculum:
    """Chooses the networks of each training step, as a preset says.

    Its state follows from seed, step and controller, so that a resumed search chooses the same networks without a checkpoint.
    """

    def __init__(self, objective: Objective, preset: Preset, seed: int) -> None:
        """Begins the walk, if the preset has one, at a network near the target.

        Args:
            objective: Space, latencies and target.
            preset: Which networks are trained.
            seed: Random seed of the search.
        """
        self.objective, self.preset, self.seed = objective, preset, seed
        self._walker = self._near_target() if preset.walk else np.zeros(0, np.int16)
        self._moves = 0

    def sample(self, controller: Controller, step: int) -> tuple[Encodings, NDArray[np.bool_]]:
        """Draws the networks of a step.

        Args:
            controller: Policy to draw from; its random generator advances, unless the preset trains evenly.
            step: Number of steps done before.

        Returns:
            Encodings (architectures, decisions), and a mask of the same shape: True for decisions that the policy did not make.
        """
        rows, replaced = self._drawn(controller, step)
        walk, done = self.preset.walk, step / self.preset.steps
        if walk is None or done >= walk.end:
            return rows, replaced
        self._move_to(max(0, step - int(walk.fixed * self.preset.steps)) // walk.every, controller)
        chance = np.random.default_rng([self.seed, step]).random((_AT_ONCE, *rows.shape))
        walked = chance < (walk.end - done) / (walk.end - walk.fixed)
        mixed = np.where(walked, self._walker, rows).astype(np.int16)
        # A mixture of two networks near the target may be far from it: take the first mixture that is near.
        off = np.stack([self._off(mixtures) for mixtures in mixed.swapaxes(0, 1)])
        first, each = off.argmin(axis=1), np.arange(len(rows))
        return mixed[first, each], replaced | walked[first, each]

    def _drawn(self, controller: Controller, step: int) -> tuple[Encodings, NDArray[np.bool_]]:
        """Samples of the current or the initial policy whose f is in the range that the preset trains."""
        count, rng = self.preset.architectures, np.random.default_rng([self.seed, step, _EVEN])

        def draw(n: int) -> tuple[Encodings, NDArray[np.bool_]]:
            if not self.preset.evenly:
                return controller.sample_warm(n)
            rows = controller.sample_start(n, rng)
            return rows, np.ones(rows.shape, bool)

        if self.preset.trained_norms is None:
            return draw(count)
        drawn, kept = list[tuple[Encodings, NDArray[np.bool_], NDArray[np.float64]]](), 0
        while kept < count and len(drawn) < _TRIES:
            rows, replaced = draw(_AT_ONCE)
            drawn.append((rows, replaced, self._off(rows)))
            kept += int((drawn[-1][2] == 0).sum())
        rows, replaced, off = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        nearest = np.argsort(off, kind="stable")[:count]
        return rows[nearest], replaced[nearest]

    def _near_target(self) -> Encodings:
        rows = self.objective.space.draw(_DRAWN, np.random.default_rng(self.seed), depth="uniform")
        nearest: Encodings = rows[np.abs(self.objective.f(rows) / self.objective.reward.target - 1).argmin()]
        return nearest

    def _move_to(self, moves: int, controller: Controller) -> None:
        """Moves the walking network on to its position after so many moves; a move draws one decision from the initial policy."""
        while self._moves < moves:
            self._moves += 1
            rng, each = np.random.default_rng([self.seed, self._moves, _WALK]), np.arange(_AT_ONCE)
            columns, drawn = rng.integers(self._walker.size, size=_AT_ONCE), controller.sample_start(_AT_ONCE, rng)
            moved = np.tile(self._walker, (_AT_ONCE, 1))
            moved[each, columns] = drawn[each, columns]
            possible = np.flatnonzero((moved != self._walker).any(axis=1) & (self._off(moved) == 0))
            if len(possible):
                self._walker = moved[possible[0]]

    def _off(self, rows: Encodings) -> NDArray[np.float64]:
        """Distance of f from the range that the preset trains, in units of the target; 0 within the range; (n,)."""
        if self.preset.trained_norms is None:
            return np.zeros(len(rows))
        low, high = self.preset.trained_norms
        norms = self.objective.f(rows) / self.objective.reward.target
        return np.maximum(np.maximum(low - norms, norms - high), 0.0)
