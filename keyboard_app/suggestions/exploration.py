"""Exploration: on a small share of lines chance decides whether the top candidate is offered, not the threshold.

Without it the log would only hold what the model already believes in, and no other threshold could be judged from it.
Chance is drawn once a line, so that the strip does not flicker. The probability that a candidate came out as shown, the
*propensity*, follows from the shares and from how long the candidate would have been visible under each branch; it is
what off-policy estimators divide by (IPS, SNIPS, DR).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol


class RandomSource(Protocol):
    """``random.Random`` and ``numpy.random.Generator`` both are one."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...


class Branch(enum.Enum):
    """Who decides about a line's query."""

    THRESHOLD = "threshold"
    OFFER = "offer"
    """Chance: the top candidate is shown whatever its score."""
    WITHHOLD = "withhold"
    """Chance: nothing is shown whatever the score."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """Shares of lines that chance decides."""

    offer: float = 0.10
    withhold: float = 0.05

    def __post_init__(self) -> None:
        if min(self.offer, self.withhold) < 0 or self.offer + self.withhold >= 1:
            raise ValueError("The shares of exploration must not be negative and must add up to less than 1.")

    def draw(self, rng: RandomSource) -> Branch:
        """Draw the branch of one line."""
        drawn = rng.random()
        if drawn < self.offer:
            return Branch.OFFER
        return Branch.WITHHOLD if drawn < self.offer + self.withhold else Branch.THRESHOLD

    def shown_probability(self, *, by_threshold: bool, by_offer: bool) -> float:
        """Probability over the branches that a candidate comes out as shown.

        Parameters
        ----------
        by_threshold, by_offer
            Whether it is shown when the threshold decides, and when chance offers it.
        """
        threshold = 1.0 - self.offer - self.withhold
        if by_threshold and by_offer:
            return 1.0 - self.withhold
        return threshold * by_threshold + self.offer * by_offer


NO_EXPLORATION = Exploration(0.0, 0.0)
"""For sensitive categories: the threshold alone decides."""
