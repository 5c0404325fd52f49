"""Typed records of the local log. They never leave the device; see docs/local-log.md."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    """What became of an impression."""

    PENDING = "pending"
    """Visible, the line is not sent yet."""
    TAPPED = "tapped"
    DISMISSED = "dismissed"
    IGNORED = "ignored"
    WITHHELD = "withheld"
    """A candidate existed and was not shown: no label, but needed to judge any threshold."""


@dataclass(frozen=True, slots=True)
class Impression:
    """One decision to offer, or to withhold, the top candidate of a line."""

    created_at: float
    """Unix time in seconds, by the injected clock."""
    conversation: str
    """Opaque key of the conversation, an equality key only."""
    context: str
    """The redacted text the decision saw: earlier lines of the conversation (newest last) and the line itself,
    separated by newlines."""
    candidate: str
    category: str
    baseline_score: float
    """The matcher's score, which no label has touched."""
    features: tuple[float, ...]
    """Dense features of (context, candidate, history) as computed at the time; see suggestion_model.features."""
    score: float
    """The ranker's logit."""
    slot: int
    """Position in the strip, 0 is the only query slot today."""
    shown: bool
    explored: bool
    """True when chance, not the threshold, made the decision."""
    propensity: float
    """Probability, in (0, 1], that ``shown`` came out as it did."""
    model_version: int
    arm: str
    """Experiment arm: ``treatment`` or ``holdback``."""
    entity_types: tuple[str, ...] = ()
    """Types of the entities that the candidate names; none in rows of an earlier schema."""


@dataclass(frozen=True, slots=True)
class LoggedImpression:
    """An impression as it stands in the log."""

    id: int
    impression: Impression
    outcome: Outcome
    resolved_at: float | None
    reported_round: str | None
    """Session whose secure sum has counted it."""


@dataclass(frozen=True, slots=True)
class UsageCount:
    """Lines sent, offers examined and clicks under one arm and model version: what a metrics report sums."""

    arm: str
    model_version: int
    lines: int
    offers: int
    clicks: int
