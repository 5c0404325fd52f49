"""What the conversation came to before: a query and its category among the best candidates of earlier lines, and taps.

A wish is often spoken over several lines. What has just been found for the second time is likelier what is meant, what
was tapped two lines ago is settled. These inputs are small numbers, 0 where nothing is known, and are logged with the
other dense features as they were: training needs no earlier row of the log, which may have expired or been deleted.

Candidates count whether they were offered or not, so that what the ranker sees depends little on the threshold in use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .types import Candidate, Match

KEPT_MATCHES = 12
"""Newest matches of a conversation that count."""

MATCH_HISTORY = (
    "query_times",
    "query_recency",
    "category_times",
    "category_recency",
    "category_tapped",
    "taps_before",
    "matches_before",
)
"""Names of the inputs in order: log(1 + times), and 1 over how many matches ago it was last, 0 for never."""


def match_history(candidate: Candidate, matches: Sequence[Match]) -> tuple[float, ...]:
    """How a candidate stands to the matches of its conversation, oldest first; one number for each name."""
    newest = tuple(reversed(matches[-KEPT_MATCHES:]))
    query = [ago for ago, match in enumerate(newest, 1) if match.query == candidate.query]
    category = [ago for ago, match in enumerate(newest, 1) if match.category == candidate.category]
    return (
        math.log1p(len(query)),
        1.0 / query[0] if query else 0.0,
        math.log1p(len(category)),
        1.0 / category[0] if category else 0.0,
        float(any(match.tapped and match.category == candidate.category for match in newest)),
        math.log1p(sum(match.tapped for match in newest)),
        math.log1p(len(newest)),
    )
