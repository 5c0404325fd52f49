"""The people of the simulated week: when their phones lie idle and charging, what they type, what they tap.

Synthetic on purpose: nobody's text is needed, and the truth is known. A candidate query has 22 features; a person taps
with probability ``sigmoid(bias + slope * <truth, features> + taste)``. The model in use sees the features and offers
what scores above its threshold. One weight of the model, :data:`BLIND`, belongs to a feature that no logged offer ever
has: nothing offline can see it, but a model that moves it repels people once it is live. So a gate that works from logs
must let such a model pass, and only the comparison with the holdback can find it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FEATURES = 22
BIAS, BLIND = 22, 23
DIMENSION = 24
HOUR = 3600.0
DAY = 24 * HOUR
TRUE_BIAS, TRUE_SLOPE, TASTE = -2.0, 1.6, 0.5
REPULSION = 3.0
"""exp(-this * the blind weight) of the taps are left."""
CANDIDATES_A_DAY = 40.0
EXPLORED = 0.05
"""Share of decisions, to offer or not, that chance makes."""
ZONES = ((0, 0.55), (-5, 0.3), (8, 0.15))
"""Hours from UTC, share of people: most sleep at the same time, some never do together."""

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Offers:
    """m candidates that a model was asked about and whose label is known."""

    features: NDArray[np.float64]
    """float64[m, DIMENSION], the last two columns are 1 (bias) and 0 (nobody logs the blind one)."""
    clicked: NDArray[np.bool_]
    propensity: NDArray[np.float64]

    @classmethod
    def none(cls) -> Offers:
        """No offers."""
        return cls(np.zeros((0, DIMENSION)), np.zeros(0, bool), np.zeros(0))

    def __add__(self, other: Offers) -> Offers:
        return Offers(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.clicked, other.clicked]),
            np.concatenate([self.propensity, other.propensity]),
        )

    def newest(self, most: int) -> Offers:
        """At most so many, the newest."""
        return Offers(self.features[-most:], self.clicked[-most:], self.propensity[-most:])

    def __len__(self) -> int:
        return len(self.clicked)


@dataclass(frozen=True)
class World:
    """What is true of everybody."""

    truth: Weights
    """float64[FEATURES], of norm 1."""
    _hourly: NDArray[np.float64] = field(repr=False, default_factory=lambda: _typing_by_hour())

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> World:
        """A world by chance."""
        truth = rng.normal(size=FEATURES)
        return cls(truth / np.linalg.norm(truth))

    def initial_weights(self, rng: np.random.Generator) -> Weights:
        """Version 0: the right idea, faintly."""
        weights = np.zeros(DIMENSION)
        weights[:FEATURES] = 0.3 * TRUE_SLOPE * self.truth + rng.normal(size=FEATURES) * 0.12
        weights[BIAS] = TRUE_BIAS
        return weights

    def candidates(self, start: float, end: float, zone: int) -> float:
        """Expected candidates of one average person between two times (Unix seconds)."""
        return CANDIDATES_A_DAY * float(self._until(end, zone) - self._until(start, zone))

    def _until(self, when: float, zone: int) -> float:
        local = when + zone * HOUR
        days, rest = divmod(local, DAY)
        return days + float(np.interp(rest, np.arange(25) * HOUR, self._hourly))

    def live(
        self, rng: np.random.Generator, lines: int, taste: float, weights: Weights, threshold: float
    ) -> tuple[Offers, int]:
        """Let a person meet ``lines`` candidates under a model; labelled offers, and how many there were."""
        features = np.zeros((lines, DIMENSION))
        features[:, :FEATURES] = rng.normal(size=(lines, FEATURES))
        features[:, BIAS] = 1.0
        wanted = features @ weights > threshold
        chance = rng.random(lines) < EXPLORED
        offered = np.where(chance, rng.random(lines) < 0.5, wanted)
        propensity = np.where(wanted, 1 - EXPLORED / 2, EXPLORED / 2)[offered]
        shown = features[offered]
        logit = TRUE_BIAS + TRUE_SLOPE * (shown[:, :FEATURES] @ self.truth) + taste
        tap = np.exp(-REPULSION * max(0.0, float(weights[BLIND]))) / (1 + np.exp(-logit))
        return Offers(shown, rng.random(len(shown)) < tap, propensity), len(shown)


def windows(rng: np.random.Generator, start: float, days: int, zone: int) -> list[tuple[float, float]]:
    """When a device is idle, charging and on an unmetered network: at night, sometimes at noon. Unix seconds."""
    found = []
    bed, up = rng.normal(22.8, 1.2), rng.normal(6.8, 0.9)
    for day in range(-1, days):
        midnight = start + day * DAY - zone * HOUR
        if rng.random() < 0.88:  # some nights the charger is forgotten
            found.append(
                (midnight + (bed + rng.normal(0, 0.5)) * HOUR, midnight + DAY + (up + rng.normal(0, 0.4)) * HOUR)
            )
        if rng.random() < 0.25:
            noon = midnight + DAY + rng.normal(13, 1.5) * HOUR
            found.append((noon, noon + rng.uniform(0.5, 2.0) * HOUR))
    return sorted((a, b) for a, b in found if b > a)


def trained(weights: Weights, offers: Offers, epochs: int, rate: float) -> Weights:
    """Local training: logistic regression by gradient descent; the change of the weights, float64[DIMENSION]."""
    w = weights.copy()
    for _ in range(epochs):
        predicted = 1 / (1 + np.exp(-(offers.features @ w)))
        w -= rate * offers.features.T @ (predicted - offers.clicked) / len(offers)
    return w - weights


def _typing_by_hour() -> NDArray[np.float64]:
    """Share of a day's typing done until each full hour, local time; float64[25]."""
    shape = np.array([1, 0.4, 0.2, 0.1, 0.1, 0.3, 1, 3, 5, 5, 5, 5.5, 6.5, 6, 5.5, 5.5, 6, 7, 8, 8.5, 8.5, 7.5, 5, 2.5])
    return np.concatenate([[0.0], np.cumsum(shape) / shape.sum()])
