"""Federated algorithms on the hashed, sparse, convex trigger: local steps against one, and FSVRG against descent.

The trigger is a logistic regression over hashed features (:mod:`suggestion_model.hashed_features`). On it the claims of
two papers can be put to the test: that local steps save rounds (arXiv 1602.05629), and that knowing how features are
spread saves them where the objective is sparse and convex (arXiv 1610.02527).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.learning.beliefs import online_laplace
from benchmarks.learning.centralised import fit_centralised
from benchmarks.learning.descents import compare
from benchmarks.learning.federated import Algorithm, Gradient, LocalRule, Run, Steps, train
from benchmarks.learning.fsvrg_rounds import in_rounds
from benchmarks.learning.judging import rounds_to
from benchmarks.learning.learners import Learner, trigger_learner
from benchmarks.learning.population import Index, Population
from benchmarks.learning.tuning import HALF_DECADES, tuned
from suggestion_model.algorithms.conditioning import count_scale
from suggestion_model.algorithms.fsvrg import Spread, count_vector
from suggestion_model.algorithms.online_laplace import OnlineLaplace
from suggestion_model.bundle import Bundle
from suggestion_model.sparse import SparseRows
from suggestion_model.training import LocalSetting

EPOCHS = 5
BATCH = 16
TUNING_ROUNDS = 60
MOST_ROUNDS = 400
TARGETS = (0.8, 0.9)
NO_CAP = 1 << 16
"""Devices count n_k / NO_CAP: more examples than any of them has."""
LOCAL_STEPS = 10
DAMPINGS = (0.1, 0.3, 1.0)
DESCENT_DEVICES = 150


def compare_rounds(population: Population, inner: Population, cohort: int, seed: int) -> dict[str, Any]:
    """FedAvg against tuned FedSGD: rounds to 80 and 90 % of the centralised AUC gain, on plain and scaled features.

    All start from version 0 and meet the same cohorts; each step is chosen on the inner split. The first four end in
    the same plain average, weighted by n_k; *scaled* features are scaled by the counts of all training devices, no
    label among them. The ``laplace`` pair ends in the sum of what devices believe, which is two vectors up and two
    down; their steps are the server's damping.
    """
    cohort = min(cohort, len(inner.devices))  # the same everywhere: the server of beliefs counts on it
    plain = trigger_learner(population)
    central = fit_centralised(plain, inner, population)
    judged, rows = population.judged, population.judged_rows
    low = judged.judge(plain.logits(rows, plain.start))["auc"]
    high = judged.judge(plain.logits(rows, central.weights))["auc"]
    targets = {f"{share:.0%}": low + share * (high - low) for share in TARGETS}
    found: dict[str, Any] = {"v0_auc": low, "centralised_auc": high, "dimension": len(plain.start)}
    counted = np.sum([count_vector(_sparse(population, own), len(plain.start)) for own in population.devices], axis=0)
    scaled = trigger_learner(population, count_scale(Spread.of(counted)))
    laplace = partial(_laplace, population, cohort)
    for name, algorithm, learner, steps, vectors in (
        ("fedsgd", _fedsgd, plain, HALF_DECADES, 1),
        ("fedavg", _fedavg, plain, HALF_DECADES, 1),
        ("fedsgd_scaled", _fedsgd, scaled, HALF_DECADES, 1),
        ("fedavg_scaled", _fedavg, scaled, HALF_DECADES, 1),
        ("fedsgd_laplace", partial(laplace, 0), plain, DAMPINGS, 2),
        ("fedavg_laplace", partial(laplace, LOCAL_STEPS), plain, DAMPINGS, 2),
    ):
        step, inside, tried = tuned(partial(_learning, algorithm, learner, inner, cohort), steps)
        curve = _rounds_until(max(targets.values()), algorithm(step), learner, population, cohort, seed)
        reached = {share: rounds_to(curve, "auc", goal) for share, goal in targets.items()}
        size = 4 * len(learner.start) * vectors
        found[name] = {
            "step": step,
            "step_inside_grid": inside,
            "inner_auc_by_step": tried,
            "rounds_to": reached,
            "bytes_to": {share: None if n is None else 2 * size * cohort * n for share, n in reached.items()},
            "rounds_run": curve[-1][0],
            "by_round": [{"round": number, "auc": point["auc"]} for number, point in curve],
        }
        found[name]["fewer_rounds"] = {
            share: _ratio(found["fedsgd"]["rounds_to"][share], reached[share], found["fedsgd"]) for share in targets
        }
    found["fewer_rounds"] = found["fedavg"]["fewer_rounds"]
    return found


def _fedsgd(step: float) -> Algorithm:
    return _by_examples(Gradient(step))


def _fedavg(step: float) -> Algorithm:
    return _by_examples(Steps(LocalSetting(EPOCHS, BATCH, step)))


def _laplace(population: Population, cohort: int, local_steps: int, damping: float) -> Algorithm:
    return online_laplace(OnlineLaplace(damping, local_steps), cohort, partial(_sparse, population))


def _rounds_until(
    goal: float, algorithm: Algorithm, learner: Learner, population: Population, cohort: int, seed: int
) -> list[tuple[int, Mapping[str, float]]]:
    """(round, AUC) up to the ten rounds in which the goal is reached, or to the last."""
    curve: list[tuple[int, Mapping[str, float]]] = []

    def note(run: Run) -> None:
        curve.append((run.rounds, {"auc": _auc(learner, population, run)}))

    run = None
    for until in range(10, MOST_ROUNDS + 1, 10):
        run = train(algorithm, learner, population, cohort, until, seed, run, note)
        if max(point["auc"] for _, point in curve) >= goal:
            break
    return curve


def _by_examples(rule: LocalRule) -> Algorithm:
    """A plain average weighted by n_k, as in arXiv 1602.05629."""
    return Algorithm(rule, weight_cap=NO_CAP)


def _auc(learner: Learner, population: Population, run: Run) -> float:
    with np.errstate(all="ignore"):
        return population.judged.judge(np.nan_to_num(learner.logits(population.judged_rows, run.weights)))["auc"]


def _ratio(many: int | None, few: int | None, sgd: Mapping[str, Any]) -> float | None:
    """How many times fewer; a lower bound where FedSGD never got there."""
    if few is None:
        return None
    return (sgd["rounds_run"] if many is None else many) / few


def _learning(
    algorithm: Callable[[float], Algorithm], learner: Learner, inner: Population, cohort: int, step: float
) -> float:
    """Mean AUC over the first rounds on the inner split: high for a step that is fast and stays good."""
    curve: list[float] = []
    with np.errstate(all="ignore"):
        train(
            algorithm(step),
            learner,
            inner,
            cohort,
            TUNING_ROUNDS,
            seed=10_000,
            after_round=lambda run: curve.append(_auc(learner, inner, run)),
        )
    return float(np.mean(curve))


def compare_descents(population: Population) -> dict[str, Any]:
    """FSVRG against gradient descent on the trigger, from version 0; see :func:`benchmarks.learning.descents`."""
    stride = max(1, len(population.devices) // DESCENT_DEVICES)
    devices = [_sparse(population, rows) for rows in population.devices[::stride]]
    start = Bundle.shipped().trigger_weights0.astype(np.float64)
    return {**compare(devices, start), "in_rounds": in_rounds(devices, start)}


def _sparse(population: Population, rows: Index) -> SparseRows:
    examples = population.world.examples
    return SparseRows(
        examples["hashed_ids"][rows], examples["hashed_values"][rows], population.labels[rows], population.weights[rows]
    )
