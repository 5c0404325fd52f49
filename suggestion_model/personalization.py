"""One person's taste by category, on top of the shared model: learned and used on the device alone.

The shared model knows how likely people tap this query in this context, and nothing of its owner
(:func:`.features.to_a_stranger`); what it cannot know is how much *this* person cares for its category. A person with
taste t for a category taps with probability p t / E[t], p the shared model's. The taste is uncertain and taps are few,
so it is not fitted but inferred: three hypotheses about how much people differ (not at all, which is the shared model;
mildly, Beta(2, 1); strongly, Beta(1/2, 1/2)) are weighed by how well each foresees this person's taps, and the answer
is the posterior mean. With little to go by it is 1 everywhere: the shared model.

The weight of a hypothesis is its prior times the product over the offers of p(outcome | the offers before it): how well
the person's later offers were foreseen from their own earlier ones. So the shared model stays where it foresees better
("keep it only where it beats the shared model on the device's own later data", arXiv 1910.10252, without giving up
data to a held-out set), and as it is one of the hypotheses, the average can never fall behind it by more than
-log(its prior) = 0.92 nats over a whole log. A taste that is left with less than a tenth of the weight is dropped.

Training the head's weights further on the same few taps gained less on training people, and with steps large enough to
matter it did harm to one person in seven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CELLS = 24
_MOST = 0.95
"""No probability is raised beyond this."""
LEAST_WEIGHT = 0.1
"""A taste that the owner's own later offers leave less weight than this is not used."""


@dataclass(frozen=True, slots=True)
class TasteSetting:
    """What is believed of people before one is known. Chosen on training people of a replay."""

    hypotheses: tuple[tuple[float, float], ...] = ((2.0, 1.0), (0.5, 0.5))
    """Beta distributions of a taste."""
    prior: tuple[float, ...] = (0.3, 0.3)
    """Of each hypothesis; the rest is for no taste at all."""
    floor: float = 0.01
    """Offers less likely tapped than this are about something else: they say nothing about a taste, nor follow one."""
    smallest_examples: int = 8
    """With fewer offers the shared model stays in use."""


@dataclass(frozen=True, slots=True)
class Taste:
    """What a person's offers say about them."""

    multipliers: Mapping[str, float]
    """Posterior mean of t / E[t] by category; 1 where a category is missing."""
    evidence: float
    """Log Bayes factor of any taste against none, nats."""
    loss_shared: float
    """Mean log loss of the offers above the floor under the shared model, nats; 0 without any."""
    loss_personal: float
    """The same, each offer foreseen from those before it."""
    examples: int
    weight: float
    """Posterior probability that the person has any taste; the shared model keeps the rest."""

    @property
    def kept(self) -> bool:
        """Whether it is worth using."""
        return self.weight >= LEAST_WEIGHT


def infer_taste(
    logits: NDArray[np.floating],
    tapped: NDArray[np.bool_],
    categories: Sequence[str],
    setting: TasteSetting | None = None,
) -> Taste:
    """Infer one person's tastes from n resolved offers.

    Args:
        logits: [n], under the shared model.
        tapped: bool[n].
        categories: of each offer.
        setting: the defaults when None.
    """
    setting = setting or TasteSetting()
    p = _probability(np.asarray(logits, np.float64))
    telling = p > setting.floor
    names, which = np.unique(np.asarray(categories, dtype=np.str_)[telling], return_inverse=True)
    p, tapped = p[telling], np.asarray(tapped, bool)[telling]
    shared = float(np.where(tapped, np.log(p), np.log1p(-p)).sum())
    if not len(p) or len(logits) < setting.smallest_examples:
        mean = -shared / max(len(p), 1)
        return Taste({}, 0.0, mean, mean, len(logits), 0.0)
    prior = np.array([1.0 - sum(setting.prior), *setting.prior])
    evidence, means = np.zeros(len(prior)), np.ones((len(prior), len(names)))
    for number, (alpha, beta) in enumerate(setting.hypotheses, start=1):
        relative = relative_tastes(alpha, beta)
        for category in range(len(names)):
            own = which == category
            q = np.minimum(p[own][:, None] * relative, _MOST)
            fit = np.where(
                tapped[own][:, None],
                np.log(q / p[own][:, None]),
                np.log1p((p[own][:, None] - q) / (1 - p[own][:, None])),
            )
            likelihood = fit.sum(axis=0)
            top = float(likelihood.max())
            cells = np.exp(likelihood - top)
            evidence[number] += top + float(np.log(cells.mean()))
            means[number, category] = float(cells @ relative / cells.sum())
    top = float(evidence.max())
    weight = prior * np.exp(evidence - top)
    believed = weight / weight.sum()
    any_taste = float(np.log(weight[1:].sum() / prior[1:].sum()) + top)
    gain = float(np.log(weight.sum()) + top)
    return Taste(
        multipliers=dict(zip(names.tolist(), (believed @ means).tolist(), strict=True)),
        evidence=any_taste,
        loss_shared=-shared / len(p),
        loss_personal=-(shared + gain) / len(p),
        examples=len(logits),
        weight=float(believed[1:].sum()),
    )


def adjust(
    logits: NDArray[np.floating],
    categories: Sequence[str],
    multipliers: Mapping[str, float],
    setting: TasteSetting | None = None,
) -> NDArray[np.float32]:
    """Logits of n candidates for a person with these tastes, float32[n]; those at the floor or below stay."""
    setting = setting or TasteSetting()
    p = _probability(np.asarray(logits, np.float64))
    factor = np.array([multipliers.get(category, 1.0) for category in categories], np.float64)
    q = np.where(factor > 1.0, np.maximum(np.minimum(p * factor, _MOST), p), p * factor)
    moved = (p > setting.floor) & (factor != 1.0)
    q = np.where(moved, q, 0.5)
    return np.where(moved, np.log(q / (1.0 - q)), logits).astype(np.float32)


@lru_cache(maxsize=16)
def relative_tastes(alpha: float, beta: float) -> Floats:
    """t / E[t] for Beta(alpha, beta): means of cells of equal probability, ascending, float64[24]; their mean is 1."""
    t = (np.arange(24_000) + 0.5) / 24_000
    mass = np.cumsum(t ** (alpha - 1) * (1 - t) ** (beta - 1))
    cell = np.minimum((mass / mass[-1] * _CELLS).astype(np.int64), _CELLS - 1)
    density = np.diff(mass, prepend=0.0)
    means: Floats = np.bincount(cell, density * t, _CELLS) / np.maximum(np.bincount(cell, density, _CELLS), 1e-12)
    relative: Floats = means / means.mean()
    return relative


def _probability(logits: Floats) -> Floats:
    p: Floats = np.clip(1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0))), 1e-9, 1 - 1e-9)
    return p
