"""An offer as the log keeps it, for tests that say only what they are about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from data_logging import Impression
from suggestion_model.features import DENSE_FEATURES

STANDARD = Impression(
    created_at=1_800_000_000.0,
    conversation="c",
    context="anything good to eat around here",
    candidate="thai restaurants in oakland",
    category="restaurants",
    baseline_score=1.0,
    features=(0.0,) * DENSE_FEATURES,
    score=0.0,
    slot=0,
    shown=True,
    explored=False,
    propensity=1.0,
    model_version=0,
    arm="treatment",
)


def offer(**changes: Any) -> Impression:
    """A query that was shown because it passed the threshold; ``changes`` by field."""
    return replace(STANDARD, **changes)
