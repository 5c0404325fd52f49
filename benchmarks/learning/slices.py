"""Quality by slice: the same scores, read at the one threshold that all lines share, part by part.

A deployed model has one threshold, so a slice is not given one of its own: what counts is what its people and
subjects get of the model as it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks import Value
from benchmarks.learning.judging import Floats, operating_row
from benchmarks.learning.typing_stage import TypedWorld
from keyboard_app.simulation.lift import KEEP_CLICKS
from suggestion_model.features import DENSE_NAMES
from suggestion_model.metrics import auc

CATEGORIES = 12
"""The categories with most expected clicks are told apart, the others are one."""
OTHERS = "all others"
SLICED = ("lines", "expected_clicks", "auc", "ctr_at_90", "clicks_retained", "impressions_retained")

Parts = dict[str, NDArray[np.bool_]]


def parts_of(world: TypedWorld, rows: NDArray[np.int64], probability: Floats) -> dict[str, Parts]:
    """How judged rows are cut: by category of the candidate, by kind of line, by whose line it is; masks over them."""
    category = world.rows.category[rows]
    clicks = np.bincount(category, probability, len(world.categories))
    largest = [int(number) for number in np.argsort(-clicks, kind="stable")[:CATEGORIES] if clicks[number]]
    by_category: Parts = {world.categories[number]: category == number for number in largest}
    if not (rest := np.isin(category, largest, invert=True)).all() and rest.any():
        by_category[OTHERS] = rest
    chat = np.asarray(world.rows.chat[rows], bool)
    by_kind: Parts = {"chat": chat, "task": ~chat}
    if "dense" in world.examples:
        first = np.asarray(world.examples["dense"][rows, DENSE_NAMES.index("earlier_lines")]) == 0
        by_kind |= {"task, first line": ~chat & first, "task, later line": ~chat & ~first}
    trains = world.may_train[world.rows.person[rows]]
    return {
        "category": by_category,
        "kind": by_kind,
        "person": {"trains, later days": trains, "never trains": ~trains},
    }


def judge_slices(
    parts: Mapping[str, Parts], scores: NDArray[np.floating], probability: Floats
) -> dict[str, dict[str, dict[str, float | None]]]:
    """All of :data:`SLICED` for each part; a value that a part has not is None.

    Args:
        parts: of :func:`parts_of`.
        scores: [m], order the judged lines.
        probability: [m], of a tap once examined.
    """
    offered = scores >= operating_row(scores, probability, KEEP_CLICKS)
    return {
        by: {name: _judge_part(scores[part], probability[part], offered[part]) for name, part in masks.items()}
        for by, masks in parts.items()
    }


def _judge_part(
    scores: NDArray[np.floating], probability: Floats, offered: NDArray[np.bool_]
) -> dict[str, float | None]:
    clicks, kept = float(probability.sum()), float(probability[offered].sum())
    area = auc(scores, probability) if len(scores) else float("nan")
    return {
        "lines": float(len(scores)),
        "expected_clicks": clicks,
        "auc": area if np.isfinite(area) else None,
        "ctr_at_90": kept / int(offered.sum()) if offered.any() else None,
        "clicks_retained": kept / clicks if clicks else None,
        "impressions_retained": float(offered.mean()) if len(offered) else None,
    }


def mean_slices(runs: Sequence[Mapping[str, Mapping[str, Mapping[str, float | None]]]]) -> dict[str, dict[str, Value]]:
    """Means over seeds, of the slices that every seed has."""
    found: dict[str, dict[str, Value]] = {}
    for by, first in runs[0].items():
        names = [name for name in first if all(name in run[by] for run in runs)]
        found[by] = {name: {key: _mean([run[by][name][key] for run in runs]) for key in first[name]} for name in names}
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
