"""From evidence to a baseline score and the match features, for many candidates at once.

No label has touched the constants here: they are set by hand, and a learned ranker takes over where they end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suggestion_model.catalog.features import MATCH_FEATURES

NEWEST_EARLIER = 0.75
"""Weight of evidence from the line just before the composed one."""
FADING = 0.85
"""Factor for each line further back."""
MEMORY = 0.45
"""Exponent below 1: what was said earlier counts less than what is said now, but not in proportion to its age."""
GUESS = 0.75
"""Factor for each word that fills the query and that nobody said."""
DOUBT = 5.0
"""Mass added to every query's own, about that of two words: what is fully matched and longer comes first."""
SAYS_MORE = 0.8
"""Of two queries that fit as well, the one of which more words were said: the score grows by e to this times them."""
MANY_WORDS, USUAL_SHARE = 8, 0.3
"""Words that make that measure 1, and where it leaves the score as it is."""
EARLIER_LINES = 12
"""Lines of the conversation that are looked at, besides the composed one."""

TOWARDS = 0.3
"""A query without from and to is a little more about where one goes than about where one comes from."""
CLEAR_ROLE = 0.5
"""A role counts in full from this strength on."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the context says for n candidates of at most p parts; absent parts have mass 0."""

    mass: Floats
    """[n, p] how much each part tells, >= 0."""
    now: Floats
    """[n, p] strength in the composed line, 0..1."""
    before: Floats
    """[n, p] strength in earlier lines, not faded, 0..1."""
    faded: Floats
    """[n, p] strength in earlier lines, fading with age, 0..1."""
    slot: NDArray[np.bool_]
    """[n, p] True for parts that fill the query, False for those that say what sort it is."""
    content: NDArray[np.bool_]
    """[n, p] True for content words: not function words, not padding."""
    share: Floats
    """[n, p] what each part counts where parts are counted: those of one name 1 together."""
    explained: Floats
    """[n] share of the composed line's known mass that the query uses, 0..1."""
    order: Floats
    """[n] agreement of from and to, -1..1."""
    prior: Floats
    """[n] 0..1."""
    asking: float
    """-1..1, of the composed line."""


def fading(age: int) -> float:
    """Weight of evidence ``age`` lines back, in (0, 1]; 0 is the composed line."""
    return NEWEST_EARLIER * FADING ** (age - 1) if age else 1.0


def score(evidence: Evidence) -> tuple[Floats, Floats]:
    """Baseline scores, float32 [n], and match features, float32 [n, len(MATCH_FEATURES)].

    Margins, which compare candidates, are left 0: :func:`set_margins` fills them once the list is final.
    """
    mass = evidence.mass
    strength = np.maximum(evidence.now, evidence.faded)
    total = np.maximum(mass.sum(axis=1), 1e-6)
    said = np.maximum(evidence.now, evidence.before)
    coverage = (mass * said).sum(axis=1) / total
    coverage_now = (mass * evidence.now).sum(axis=1) / total
    coverage_before = (mass * evidence.before).sum(axis=1) / total
    faded_coverage = (mass * strength).sum(axis=1) / total
    kind_parts = ~evidence.slot & evidence.content
    has_kind = kind_parts.any(axis=1)
    kind = np.where(has_kind, np.where(kind_parts, strength, 0).max(axis=1), faded_coverage)
    kind_now = np.where(has_kind, np.where(kind_parts, evidence.now, 0).max(axis=1), coverage_now)
    slot_mass = np.where(evidence.slot, mass, 0)
    slot_total = slot_mass.sum(axis=1)
    has_slots = slot_total > 0
    slot_total = np.maximum(slot_total, 1e-6)
    slots = np.where(has_slots, (slot_mass * strength).sum(axis=1) / slot_total, kind)
    slots_now = np.where(has_slots, (slot_mass * evidence.now).sum(axis=1) / slot_total, kind_now)
    words = evidence.content.sum(axis=1)
    unmatched = (evidence.content & (said <= 0)).sum(axis=1)
    added = np.maximum(coverage - coverage_before, 0.0)

    fresh = 0.45 + 0.35 * np.minimum(1.0, 2.5 * coverage_now) + 0.2 * np.minimum(1.0, 2.5 * added)
    fits_kind = 0.35 + 0.65 * kind
    agrees = 1.0 + 0.3 * evidence.order
    likely = 0.95 + 0.1 * evidence.prior
    willing = 0.75 + 0.25 * evidence.asking
    # A longer query that is matched as well says more: DOUBT is the mass of what might still be missing.
    remembered = strength**MEMORY
    complete = (mass * remembered).sum(axis=1) / (total + DOUBT)
    guessed = (evidence.slot & (said <= 0.3)).sum(axis=1)
    spoken_for = np.minimum((evidence.content * evidence.share * remembered).sum(axis=1) / MANY_WORDS, 1.0)
    specific = np.exp(SAYS_MORE * (spoken_for - USUAL_SHARE))
    result = complete * specific * GUESS**guessed * fresh * fits_kind * agrees * likely * willing
    columns = {
        "score": result,
        "coverage": coverage,
        "coverage_now": coverage_now,
        "coverage_added": added,
        "kind": kind,
        "kind_now": kind_now,
        "slots": slots,
        "slots_now": slots_now,
        "unmatched": np.minimum(unmatched / 4, 1.0),
        "line_explained": evidence.explained,
        "order": evidence.order,
        "margin": np.zeros_like(result),
        "age": 1.0 - strength.max(axis=1, initial=0.0),
        "prior": evidence.prior,
        "length": np.minimum(words / 8, 1.0),
        "asking": np.full_like(result, evidence.asking),
    }
    features = np.stack([columns[name] for name in MATCH_FEATURES], axis=1).astype(np.float32)
    return result.astype(np.float32), features


def set_margins(features: Floats) -> None:
    """Fill the column ``margin`` in place, [n, m] sorted by falling score."""
    scores = features[:, MATCH_FEATURES.index("score")]
    column = MATCH_FEATURES.index("margin")
    if len(scores):
        features[:, column] = scores - scores[0]
        features[0, column] = scores[0] - (scores[1] if len(scores) > 1 else 0.0)
