"""What a log that version 0 thresholded teaches, with and without inverse propensities.

A device's real log holds little of what lies below the threshold: a tenth of the lines, offered by chance. Each such
row stands for the others (weight 1 / propensity, clipped). The same model is fitted to the same field log with and
without these weights, and both are judged like everything else, on lines where every best candidate was shown.
"""

from __future__ import annotations

from typing import Any

from benchmarks.learning.centralised import fit_centralised
from benchmarks.learning.judging import Judged
from benchmarks.learning.learners import Learner, ranker_learner
from benchmarks.learning.population import Index, Population
from benchmarks.learning.typing_stage import TypedWorld


def selection_bias(field: TypedWorld, learner: Learner, judged_rows: Index, judged: Judged) -> dict[str, Any]:
    """Fit on the field log twice, judge on ``judged_rows`` of the learner's own world."""
    found: dict[str, Any] = {}
    for name, weighted in (("with_propensities", True), ("without", False)):
        population = Population(field, weighted=weighted)
        fit = fit_centralised(ranker_learner(population), Population(field, inner=True, weighted=True), population)
        metrics = judged.judge(learner.logits(judged_rows, fit.weights))
        found[name] = {key: metrics[key] for key in ("auc", "log_loss", "calibration", "ctr_at_90", "offers_on_chat")}
    rows = field.rows
    trained = rows.training & field.may_train[rows.person]
    found["offered"] = float(rows.shown[trained].mean())
    found["by_chance"] = float((rows.shown & (rows.propensity < 0.5))[trained].mean())
    return found
