"""What a model of one's own is worth, scored by the typist's probability on each person's later offers.

Three models meet on the same rows: the shared one; the personal one; and one that knows the person's taste for the
line's topic perfectly and the rest as well as the shared one does (a logistic regression over the shared logit and
log taste, fitted on training rows). Personalisation is read as the share of the way from the first to the third.

The shared model is told nothing of its owner (:func:`suggestion_model.features.to_a_stranger`), so all that a device
makes of its own log lies between the first and the second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.learners import Learner, Weights
from benchmarks.learning.population import Index, Population
from suggestion_model.metrics import auc, log_loss

LEAST_OFFERS = 20
"""Later offers of a person who is scored."""
WORSE = 0.02
_TASTE_FLOOR = 0.003

Personalise = Callable[[int, Index], NDArray[np.floating]]
"""Logits of one device (by number) for some rows, from what it alone can know."""


@dataclass(frozen=True)
class PersonalScores:
    """Of one person: expected log loss and AUC on later offers."""

    loss: tuple[float, float, float]
    """shared, personal, perfect."""
    auc: tuple[float, float, float]
    rows: int


def judge_personalisation(
    learner: Learner,
    population: Population,
    shared: Weights,
    personalise: Personalise,
    least_offers: int = LEAST_OFFERS,
) -> dict[str, Any]:
    """Score everybody who trains and has at least ``least_offers`` later offers."""
    rows = population.world.rows
    perfect = _perfect_taste(learner, population, shared)
    scored: list[PersonalScores] = []
    whose = rows.person[population.judged_rows]
    for number, person in enumerate(population.persons):
        later = population.judged_rows[(whose == person) & rows.shown[population.judged_rows]]
        if len(later) < least_offers:
            continue
        truth = np.asarray(rows.probability[later], np.float64)
        logits = learner.logits(later, shared), personalise(number, later), perfect(later)
        losses = tuple(log_loss(each, truth) for each in logits)
        areas = tuple(auc(each, truth) for each in logits)
        scored.append(PersonalScores((losses[0], losses[1], losses[2]), (areas[0], areas[1], areas[2]), len(later)))
    if not scored:
        return {"people": 0}
    loss = np.array([each.loss for each in scored])
    area = np.array([each.auc for each in scored])
    weight = np.array([each.rows for each in scored], np.float64)
    mean_loss, mean_area = (np.average(values, axis=0, weights=weight) for values in (loss, area))
    return {
        "people": len(scored),
        "offers": int(weight.sum()),
        "log_loss": _named(mean_loss),
        "auc": _named(mean_area),
        "share_of_perfect_log_loss": _share(-mean_loss),
        "share_of_perfect_auc": _share(mean_area),
        "relative_change_log_loss": float(mean_loss[1] / mean_loss[0] - 1),
        "relative_change_auc": float(mean_area[1] / mean_area[0] - 1),
        "people_worse_log_loss": float((loss[:, 1] - loss[:, 0] > WORSE).mean()),
        "people_worse_auc": float((area[:, 0] - area[:, 1] > WORSE).mean()),
        "people_better_log_loss": float((loss[:, 0] - loss[:, 1] > WORSE).mean()),
        "people_better_auc": float((area[:, 1] - area[:, 0] > WORSE).mean()),
    }


def _named(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(("shared", "personal", "perfect"), values.tolist(), strict=True))


def _share(values: NDArray[np.float64]) -> float | None:
    """How much of the way from the first to the third the second goes; None where there is no way."""
    way = values[2] - values[0]
    return float((values[1] - values[0]) / way) if way > 1e-9 else None


def _perfect_taste(learner: Learner, population: Population, shared: Weights) -> Callable[[Index], NDArray[np.float64]]:
    """The shared logit, corrected by a taste that is known: fitted on all training rows by Newton's method."""
    taste = population.world.rows.taste

    def features(rows: Index) -> NDArray[np.float64]:
        z = learner.logits(rows, shared).astype(np.float64)
        known = np.log(np.asarray(taste[rows], np.float64) + _TASTE_FLOOR)
        return np.stack([np.ones(len(rows)), z, known, z * known], axis=1)

    trained = np.concatenate(population.devices)
    x, y = features(trained), population.labels[trained].astype(np.float64)
    weights = np.array([0.0, 1.0, 0.0, 0.0])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(4)
        weights -= np.linalg.solve(curvature, x.T @ (p - y))
    return lambda rows: features(rows) @ weights
