"""What devices say when they judge a version, and what became of the versions."""

from __future__ import annotations

import itertools

import numpy as np

from coordinator.releases.rollout import all_rollouts
from federated_protocol.plan import LOSS_LEVELS, counter_names

SCALE = 2


def counters(plan, shift=0, kept=True):
    """What one device says: a click on a high score, another offer on a low one; ``shift`` worsens the loss."""
    said = dict.fromkeys(counter_names(plan.metrics), 0)
    high, low = len(plan.metrics.score_edges), 0
    said |= {"examples": 2, "devices_with_examples": 1}
    said |= {f"clicks_by_score/{high if kept else low}": SCALE, f"offers_by_score/{low}": SCALE}
    said[f"offers_by_score/{high}"] = SCALE if kept else 0
    said[f"offers_by_score/{low}"] += 0 if kept else SCALE
    said |= {f"baseline_clicks_by_score/{high}": SCALE, f"baseline_offers_by_score/{low}": SCALE}
    said[f"baseline_offers_by_score/{high}"] = SCALE
    said |= {"loss_change/devices": 1, "loss_change/sum": LOSS_LEVELS + shift, "loss_change/squares": shift * shift}
    return np.array(list(said.values()), np.uint64)


def spread(plan, lowest, highest):
    """What one device says whose clicks lie evenly between two logits, the baseline's as ours."""
    said = dict.fromkeys(counter_names(plan.metrics), 0)
    edges = plan.metrics.score_edges
    for b, (low, high) in enumerate(itertools.pairwise(edges), start=1):
        inside = SCALE * (lowest <= low and high <= highest)
        for name in ("clicks_by_score", "offers_by_score", "baseline_clicks_by_score", "baseline_offers_by_score"):
            said[f"{name}/{b}"] = inside
    said["offers_by_score/1"] = said["baseline_offers_by_score/1"] = SCALE
    said |= {"loss_change/devices": 1, "loss_change/sum": LOSS_LEVELS}
    return np.array(list(said.values()), np.uint64)


def states(deployment):
    with deployment.coordinator.database.reading() as connection:
        return {v: (r.state, r.percent) for v, r in all_rollouts(connection, 40.0).items()}
