"""Federated algorithms on the hashed, sparse, convex trigger: local steps against one, and FSVRG against descent.

The trigger is a logistic regression over hashed features (:mod:`suggestion_model.hashed_features`). On it the claims of
two papers can be put to the test: that local steps save rounds (arXiv 1602.05629), and that knowing how features are
spread saves them where the objective is sparse and convex (arXiv 1610.02527).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.learning.centralised import fit_centralised
from benchmarks.learning.federated import Algorithm, Gradient, LocalRule, Run, Steps, train
from benchmarks.learning.judging import rounds_to
from benchmarks.learning.learners import Learner, Vector
from benchmarks.learning.population import Index, Population
from suggestion_model.algorithms.fsvrg import Fsvrg, Spread, count_vector
from suggestion_model.bundle import Bundle
from suggestion_model.sparse import SparseRows, objective, objective_gradient
from suggestion_model.training import LocalSetting

HALF_DECADES = tuple(10 ** (exponent / 2) for exponent in range(-3, 5))
"""Steps tried, 0.03 to 100."""
EPOCHS = 5
BATCH = 16
TUNING_ROUNDS = 60
MOST_ROUNDS = 400
TARGETS = (0.8, 0.9)
L2 = 1e-5
FSVRG_ROUNDS = 12
DESCENT_ROUNDS = 60
FSVRG_STEPS = (3.0, 10.0, 30.0, 100.0)
FSVRG_DEVICES = 150


def compare_rounds(
    learner: Learner, population: Population, inner: Population, cohort: int, seed: int
) -> dict[str, Any]:
    """FedAvg against tuned FedSGD: rounds to 80 and 90 % of the centralised AUC gain.

    Both start from version 0, meet the same cohorts and end in the same plain average; both steps are chosen on the
    inner split.
    """
    central = fit_centralised(learner, inner, population)
    judged, rows = population.judged, population.judged_rows
    low = judged.judge(learner.logits(rows, learner.start))["auc"]
    high = judged.judge(learner.logits(rows, central.weights))["auc"]
    found: dict[str, Any] = {"v0_auc": low, "centralised_auc": high, "dimension": len(learner.start)}

    def fedavg(step: float) -> LocalRule:
        return Steps(LocalSetting(EPOCHS, BATCH, step))

    for name, rule in (("fedavg", fedavg), ("fedsgd", Gradient)):
        step, inside, tried = tuned(partial(_auc_after, rule, learner, inner, cohort), HALF_DECADES)
        curve: list[tuple[int, Mapping[str, float]]] = []
        goal = low + max(TARGETS) * (high - low)

        def note(run: Run, curve: list[tuple[int, Mapping[str, float]]] = curve) -> None:
            curve.append((run.rounds, {"auc": judged.judge(learner.logits(rows, run.weights))["auc"]}))

        run = None
        for until in range(10, MOST_ROUNDS + 1, 10):
            run = train(Algorithm(rule(step)), learner, population, cohort, until, seed, run, note)
            if curve[-1][1]["auc"] >= goal:
                break
        reached = {f"{share:.0%}": rounds_to(curve, "auc", low + share * (high - low)) for share in TARGETS}
        size = 4 * len(learner.start)
        found[name] = {
            "step": step,
            "step_inside_grid": inside,
            "inner_auc_by_step": tried,
            "rounds_to": reached,
            "bytes_to": {share: None if n is None else 2 * size * cohort * n for share, n in reached.items()},
            "rounds_run": curve[-1][0],
            "by_round": [{"round": number, "auc": point["auc"]} for number, point in curve],
        }
    found["fewer_rounds"] = {
        share: _ratio(found["fedsgd"]["rounds_to"][share], found["fedavg"]["rounds_to"][share], found["fedsgd"])
        for share in found["fedavg"]["rounds_to"]
    }
    return found


def _ratio(many: int | None, few: int | None, sgd: Mapping[str, Any]) -> float | None:
    """How many times fewer; a lower bound where FedSGD never got there."""
    if few is None:
        return None
    return (sgd["rounds_run"] if many is None else many) / few


def _auc_after(
    rule: Callable[[float], LocalRule], learner: Learner, inner: Population, cohort: int, step: float
) -> float:
    with np.errstate(all="ignore"):
        run = train(Algorithm(rule(step)), learner, inner, cohort, TUNING_ROUNDS, seed=10_000)
        return inner.judged.judge(np.nan_to_num(learner.logits(inner.judged_rows, run.weights)))["auc"]


def tuned(quality: Callable[[float], float], steps: Sequence[float]) -> tuple[float, bool, dict[str, float]]:
    """The step of the highest quality; the grid grows until the best lies inside it, up to twice its size.

    Returns:
        the step, whether it lies inside the grid, and the quality of each step tried.
    """
    tried = {step: quality(step) for step in steps}
    ratio = steps[1] / steps[0]
    while len(tried) < 2 * len(steps):
        best = max(tried, key=lambda step: tried[step])
        if best not in (min(tried), max(tried)):
            break
        further = best * ratio if best == max(tried) else best / ratio
        tried[further] = quality(further)
    best = max(tried, key=lambda step: tried[step])
    inside = min(tried) < best < max(tried)
    return best, inside, {f"{step:.3g}": value for step, value in sorted(tried.items())}


def compare_descents(population: Population) -> dict[str, Any]:
    """FSVRG after 12 rounds against the best fixed-step gradient descent after 60, everybody taking part in each.

    Gaps are relative to the gap at the start. Left out in turn: the server's scaling A and the devices' S, each with
    the full algorithm's step and with the best step of its own.
    """
    stride = max(1, len(population.devices) // FSVRG_DEVICES)
    devices = [_sparse(population, rows) for rows in population.devices[::stride]]
    start = Bundle.shipped().trigger_weights0.astype(np.float64)
    everything, d = SparseRows.join(devices), len(start)
    least = objective(_optimum(everything, d), everything, L2)
    whole = objective(start, everything, L2) - least

    def gap(weights: Vector) -> float:
        with np.errstate(all="ignore"):
            value = (objective(weights, everything, L2) - least) / whole
        return float(value) if np.isfinite(value) else 1e9

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
        "gap_at_start": whole,
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

        best, within, _ = tuned(after, FSVRG_STEPS)
        reference = found["fsvrg"]["step"] if "fsvrg" in found else best
        if reference not in by_step:
            after(reference)
        found[name] = {
            "step": best,
            "step_inside_grid": within,
            "gap_after_12": by_step[best][-1],
            "gaps": by_step[best],
            "gap_at_the_full_ones_step": by_step[reference][-1],
        }
    return found


def _sparse(population: Population, rows: Index) -> SparseRows:
    examples = population.world.examples
    return SparseRows(
        examples["hashed_ids"][rows], examples["hashed_values"][rows], population.labels[rows], population.weights[rows]
    )


def _optimum(rows: SparseRows, d: int) -> Vector:
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
