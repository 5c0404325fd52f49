"""What a catalog can offer for a replay, before any ranking: coverage, recall among the first candidates, small talk.

Coverage is the share of lines with a wish whose wanted query is in the catalog at all. Recall is counted over those
lines: whether the wanted query is among the first eight candidates, exactly, or one that the typist would find as
good (:mod:`keyboard_app.simulation.relevance`). Lines of small talk show what the score alone could keep quiet.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks import BenchmarkError, Value
from keyboard_app.simulation.relevance import relevance
from keyboard_app.simulation.replay import ReplayError, ReplayLine, read_replay
from keyboard_app.suggestions.conversation import Conversations
from suggestion_model.catalog import CatalogError, load_catalog, shipped_catalog
from suggestion_model.types import Candidate, Context

DESCRIPTION = "coverage and recall@8 of a catalog on a replay, and what small talk brings up"

LIMIT = 8
AS_GOOD = 0.6
"""Content-word F1 from which a candidate counts as what was wanted."""
KEPT = 0.9
"""Share of good offers that the score threshold for small talk keeps."""
GOAL_RECALL_AT_8 = 0.92


class Catalog(Protocol):
    """A candidate source that knows what it holds."""

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        """Best candidates of a context."""
        ...

    def holds(self, query: str) -> bool:
        """Whether ``query`` can ever be proposed."""
        ...


@dataclass(frozen=True, slots=True)
class CatalogRecall:
    """How well a catalog serves a replay. Shares are in [0, 1], 0 where there is no such line."""

    lines: int
    """Lines looked at that want something."""
    coverage: float
    """Share of them with a wanted query in the catalog."""
    recall_at_8: float
    """Of the covered ones: a wanted query is among the first eight candidates."""
    recall_at_8_f1: float
    """Of the covered ones: one of the first eight is as good, by content-word F1."""
    top_1: float
    top_1_f1: float
    recall_at_8_f1_all: float
    """As ``recall_at_8_f1``, over all lines that want something, covered or not."""
    chat_lines: int
    """Lines of small talk looked at."""
    chat_with_candidate: float
    """Share of them with any candidate."""
    chat_over_threshold: float
    """Share of them whose best score exceeds what 90 % of the good first candidates exceed."""
    score_auc: float
    """Probability that the first candidate of a line that wants it scores above that of a line of small talk."""
    by_topic: dict[str, dict[str, float]]
    """For each topic of the lines that want something, most lines first: ``lines``, and as above ``coverage``,
    ``recall_at_8``, ``recall_at_8_f1`` and ``top_1``."""


def catalog_recall(replay: Iterable[ReplayLine], source: Catalog, *, sample: float = 1.0) -> CatalogRecall:
    """Measure a catalog on the lines of a replay.

    Args:
        replay: lines in the order of time.
        source: the catalog.
        sample: share of the lines that is looked at, drawn by hash; all of them are remembered as context.
    """
    conversations = Conversations()
    hits: list[tuple[bool, ...]] = []
    chat: list[float] = []
    wished: list[float] = []
    topics: list[str] = []
    lines = covered = 0
    known: dict[str, bool] = {}
    for line in replay:
        conversation = conversations.open(line.conversation)
        if line.reply_to:
            conversation.lines.append(line.reply_to)
        drawn = zlib.crc32(f"{line.user} {line.number}".encode()) < sample * 2**32
        if drawn and (line.wanted or line.kind == "chat"):
            found = source.candidates(Context(line.text, tuple(conversation.lines)), LIMIT)
            best = found[0].score if found else 0.0
            if line.wanted:
                for query in line.wanted:
                    if query not in known:
                        known[query] = source.holds(query)
                lines += 1
                hit = _hits(found, line.wanted)
                covered += (is_covered := any(known[query] for query in line.wanted))
                hits.append((is_covered, *hit))
                topics.append(line.topic)
                if hit[3]:
                    wished.append(best)
            else:
                chat.append(best)
        conversation.lines.append(line.text)
    rows = np.array(hits, bool).reshape(-1, 5)
    shares = _shares(rows[rows[:, 0], 1:])
    threshold = float(np.quantile(wished, 1 - KEPT)) if wished else 0.0
    scores = np.array(chat)
    return CatalogRecall(
        lines=lines,
        coverage=covered / max(lines, 1),
        recall_at_8=shares[0],
        recall_at_8_f1=shares[1],
        top_1=shares[2],
        top_1_f1=shares[3],
        recall_at_8_f1_all=_shares(rows[:, 1:])[1],
        chat_lines=len(chat),
        chat_with_candidate=float((scores > 0).mean()) if chat else 0.0,
        chat_over_threshold=float((scores >= threshold).mean()) if chat and wished else 0.0,
        score_auc=_auc(np.array(wished), scores),
        by_topic=_by_topic(rows, np.array(topics, np.str_)),
    )


def _by_topic(rows: NDArray[np.bool_], topics: NDArray[np.str_]) -> dict[str, dict[str, float]]:
    names, counts = np.unique(topics, return_counts=True)
    found: dict[str, dict[str, float]] = {}
    for name in names[np.argsort(-counts, kind="stable")].tolist():
        own = rows[topics == name]
        shares = _shares(own[own[:, 0], 1:])
        found[name] = {
            "lines": len(own),
            "coverage": float(own[:, 0].mean()),
            "recall_at_8": shares[0],
            "recall_at_8_f1": shares[1],
            "top_1": shares[2],
        }
    return found


def _hits(found: Sequence[Candidate], wanted: Sequence[str]) -> tuple[bool, bool, bool, bool]:
    """(among the first eight exactly, or as good, the first exactly, or as good)."""
    folded = {query.casefold() for query in wanted}
    exact = [candidate.query.casefold() in folded for candidate in found]
    good = [
        same or any(relevance(candidate.query, query) >= AS_GOOD for query in wanted)
        for same, candidate in zip(exact, found, strict=True)
    ]
    return any(exact), any(good), any(exact[:1]), any(good[:1])


def _shares(rows: NDArray[np.bool_]) -> list[float]:
    return [float(value) for value in rows.mean(axis=0)] if len(rows) else [0.0] * rows.shape[1]


def _auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    if not len(positive) or not len(negative):
        return 0.0
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / 2 / len(negative))


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Measure a catalog on a replay.

    Raises:
        BenchmarkError: a file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks recall", description=DESCRIPTION)
    parser.add_argument("--replay", type=Path, required=True, help="replay file, .jsonl or .jsonl.gz")
    parser.add_argument("--catalog", type=Path, help="query list or graph; the shipped graph without it")
    parser.add_argument("--sample", type=float, default=1.0, help="share of lines looked at (default all)")
    options = parser.parse_args(argv)
    try:
        # Sensitive subjects are in, as this judges the catalog, not what a person has switched on.
        source = load_catalog(options.catalog, sensitive=True) if options.catalog else shipped_catalog(sensitive=True)
        found = catalog_recall(read_replay(options.replay), source, sample=options.sample)
    except (CatalogError, ReplayError) as error:
        raise BenchmarkError(str(error)) from None
    return {
        **asdict(found),
        "goal_recall_at_8": GOAL_RECALL_AT_8,
        "as_good_f1": AS_GOOD,
        "replay": options.replay.name,
        "catalog": options.catalog.name if options.catalog else "shipped",
    }
