"""What of the gain holds on services that no device has ever trained on.

The topics that lead to searches are dealt into folds. For each fold a model is trained on all lines of other topics
and judged on the lines of these; beside it stand, on the same lines, version 0 and the model that trained on all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.federated import train
from benchmarks.learning.judging import Judged, gain
from benchmarks.learning.learners import Weights
from benchmarks.learning.methods import Bench, fedavg
from benchmarks.learning.population import Index, Population

FOLDS = 4
SMALLEST = 0.01
"""Share of all expected clicks on task lines that a topic must have to be left out; others stay with everybody."""
_COMPARED = ("auc", "log_loss", "ctr_at_90")


def unseen_topics(bench: Bench) -> dict[str, Any]:
    """Train FedAvg once on everything and once without each fold's topics.

    Returns:
        ``folds``, a list of ``{topics, lines, v0, unseen, seen, auc_gain_kept, ctr_gain_kept}``, and the same three
        models over all folds' lines under ``together``, each line scored by the model that never saw its topic.
    """
    learner, population = bench.learner, bench.population

    def trained_on(part: Population) -> Weights:
        return train(fedavg(), learner, part, bench.devices, bench.rounds, bench.seed).weights

    seen = trained_on(population)
    parts = [Population(bench.world, left_out=topics) for topics in _folds(population)]
    rows: list[Index] = []
    unseen_logits: list[NDArray[np.floating]] = []
    folds: list[dict[str, Any]] = []
    for part in parts:
        logits = learner.logits(part.judged_rows, trained_on(part))
        rows.append(part.judged_rows)
        unseen_logits.append(logits)
        names = [bench.world.topics[number] for number in sorted(part.left_out)]
        folds.append({"topics": names, **_compare(bench, part.judged_rows, logits, seen)})
    if not folds:
        return {"folds": []}
    together = _compare(bench, np.concatenate(rows), np.concatenate(unseen_logits), seen)
    return {"folds": folds, "together": together}


def _folds(population: Population) -> list[frozenset[int]]:
    """Topics by expected clicks, dealt to and fro so that the folds weigh about the same."""
    judged, topic = population.judged, population.world.rows.topic[population.judged_rows]
    clicks = np.bincount(topic[~judged.chat], judged.probability[~judged.chat], len(population.world.topics))
    least = SMALLEST * float(clicks.sum())
    chosen = [int(number) for number in np.argsort(-clicks, kind="stable") if clicks[number] > least]
    dealt: list[set[int]] = [set() for _ in range(FOLDS)]
    for place, number in enumerate(chosen):
        lap, seat = divmod(place, FOLDS)
        dealt[seat if lap % 2 == 0 else FOLDS - 1 - seat].add(number)
    return [frozenset(fold) for fold in dealt if fold]


def _compare(bench: Bench, rows: Index, unseen: NDArray[np.floating], seen: Weights) -> dict[str, Any]:
    table = bench.world.rows
    chat = np.asarray(table.chat[rows], bool)
    judged = Judged(np.asarray(table.probability[rows], np.float64), chat, int(chat.sum()), len(rows))
    scores = {
        "v0": bench.learner.logits(rows, bench.learner.start),
        "unseen": unseen,
        "seen": bench.learner.logits(rows, seen),
    }
    found = {name: {key: judged.judge(values)[key] for key in _COMPARED} for name, values in scores.items()}
    kept = {
        label: gain(found["unseen"][metric], found["v0"][metric], found["seen"][metric])
        for metric, label in (("auc", "auc_gain_kept"), ("ctr_at_90", "ctr_gain_kept"))
    }
    return {"lines": len(rows), **found, **kept}
