"""The matcher's evidence for one candidate: what the numbers in ``Candidate.features`` mean.

The same sixteen for every source, so that a ranker trained on one works on another. A query is a set of parts, each
with a mass (how much it tells: inverse document frequency in a list). Parts are of two sorts: *kind* words say what
sort of query it is ("restaurants in"), *slot* words fill it ("thai", "oakland").
"""

from __future__ import annotations

from typing import Final

MATCH_FEATURES: Final[tuple[str, ...]] = (
    "score",  # the baseline score itself
    "coverage",  # share of the query's mass found anywhere in the context
    "coverage_now",  # share found in the line being composed
    "coverage_added",  # share found in the line being composed and nowhere earlier
    "kind",  # best evidence for the sort of query, fading with the age of the line, 0..1
    "kind_now",  # the same in the line being composed
    "slots",  # share of the slot mass found, fading with age
    "slots_now",  # share of the slot mass found in the line being composed
    "unmatched",  # content words of the query that nothing speaks for, / 4, at most 1
    "line_explained",  # share of the composed line's mass known to the catalog that this query uses
    "order",  # -1..1: do "from" and "to" of query and context agree; 0 when neither says
    "margin",  # score less that of the best other candidate, -1..1; only the first has it above 0
    "age",  # age of the newest line that speaks for it, 0 now, 1 far back
    "prior",  # how likely the query is before anything was typed, 0..1, 0.5 unknown
    "length",  # content words of the query / 8, at most 1
    "asking",  # -1 the composed line closes, +1 it wants something
)
"""Names of ``Candidate.features`` in order; roughly all in [0, 1], signed ones in [-1, 1]."""
