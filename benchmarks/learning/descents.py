"""Full participation on a sparse convex objective: FSVRG, without A, without S, against gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.learning.tuning import HALF_DECADES, tuned
from suggestion_model.algorithms.fsvrg import Fsvrg, Spread, count_vector
from suggestion_model.sparse import Floats, SparseRows, objective, objective_gradient

L2 = 1e-5
FSVRG_ROUNDS = 12
DESCENT_ROUNDS = 60
FSVRG_STEPS = (3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Gap:
    """How far weights are from the optimum of everybody's objective, relative to the start."""

    everything: SparseRows
    least: float
    """The objective at its optimum."""
    whole: float
    """The start's own gap."""

    @classmethod
    def at(cls, start: Floats, everything: SparseRows) -> Gap:
        """Of a start, float64[d]."""
        least = objective(_optimum(everything, len(start)), everything, L2)
        return cls(everything, least, objective(start, everything, L2) - least)

    def __call__(self, weights: Floats) -> float:
        """1 at the start, 0 at the optimum; 1e9 where weights have diverged."""
        with np.errstate(all="ignore"):
            value = (objective(weights, self.everything, L2) - self.least) / self.whole
        return float(value) if np.isfinite(value) else 1e9


def compare(devices: Sequence[SparseRows], start: Floats, fsvrg_steps: Sequence[float] = FSVRG_STEPS) -> dict[str, Any]:
    """FSVRG after 12 rounds against the best fixed-step gradient descent after 60, everybody taking part in each.

    Gaps are relative to the gap at the start. Left out in turn: the server's scaling A and the devices' S, each with
    the best step of its own, with the full algorithm's, and with twice that.
    """
    devices = list(devices)
    everything, d = SparseRows.join(devices), len(start)
    gap = Gap.at(start, everything)

    def descend(step: float) -> float:
        weights = start.copy()
        for _ in range(DESCENT_ROUNDS):
            weights = weights - step * objective_gradient(weights, everything, L2)
        return -gap(weights)

    counted = np.sum([count_vector(rows, d) for rows in devices], axis=0)
    spread = Spread.of(counted)

    def run(algorithm: Fsvrg) -> list[float]:
        weights, rng, gaps = start.copy(), np.random.default_rng(0), []
        with np.errstate(all="ignore"):
            for _ in range(FSVRG_ROUNDS):
                weights = algorithm.round(weights, devices, spread, rng)
                gaps.append(gap(weights))
        return gaps

    descent, inside, tried = tuned(descend, HALF_DECADES)
    found: dict[str, Any] = {
        "devices": len(devices),
        "examples": len(everything),
        "gap_at_start": gap.whole,
        "descent": {"step": descent, "step_inside_grid": inside, "gap_after_60": -max(tried.values())},
    }
    full = Fsvrg(1.0, L2)
    for name, variant in (
        ("fsvrg", full),
        ("without_A", replace(full, scale_server=False)),
        ("without_S", replace(full, scale_device=False)),
    ):
        by_step: dict[float, list[float]] = {}

        def after(step: float, variant: Fsvrg = variant, by_step: dict[float, list[float]] = by_step) -> float:
            by_step[step] = run(replace(variant, step=step))
            return -by_step[step][-1]

        best, within, _ = tuned(after, fsvrg_steps)
        reference = found["fsvrg"]["step"] if "fsvrg" in found else best
        if reference not in by_step:
            after(reference)
        found[name] = {
            "step": best,
            "step_inside_grid": within,
            "gap_after_12": by_step[best][-1],
            "gaps": by_step[best],
            "gap_at_the_full_ones_step": by_step[reference][-1],
            "gap_at_twice_the_full_ones_step": run(replace(variant, step=2 * reference))[-1],
        }
    return found


def _optimum(rows: SparseRows, d: int) -> Floats:
    """The minimiser of the objective, by L-BFGS to the end."""
    from scipy.optimize import minimize

    found = minimize(
        lambda w: (objective(w, rows, L2), objective_gradient(w, rows, L2)),
        np.zeros(d),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 3000, "maxcor": 30, "ftol": 1e-14, "gtol": 1e-9},
    )
    return np.asarray(found.x, np.float64)
