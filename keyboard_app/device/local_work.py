"""What a device computes for a round: ClientUpdate on its own log, then one integer vector to be masked.

The vector is ``[encoded w·Δ | w | counters]`` (:mod:`federated_protocol.update_codec`), with w = min(n_k, W) / W.
Counters stand in the order of :func:`federated_protocol.plan.counter_names`. The score histograms are taken under the
global model the round starts from, so that all devices' bins mean the same; each offer counts with its inverse
propensity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_logging.records import LoggedImpression, Outcome, UsageCount
from federated_protocol.plan import USAGE_MOMENTS, MetricSetting, Plan, TaskKind, arms_of
from keyboard_app.device.local_evaluation import ScoredOffers, histograms, judgement
from keyboard_app.device.local_training import LocalTrainer, Trained
from keyboard_app.device.model_store import StoredModel
from keyboard_app.device.policy import PlanRefusal, PlanRefusedError
from keyboard_app.device.sparse_descent import AnchorPoint, SparseDescent
from keyboard_app.device.workbench import LABELLED, TrainingStoppedError, Workbench
from suggestion_model.types import Example

if TYPE_CHECKING:
    from data_logging import ImpressionLog
    from federated_protocol.vector_layout import Vector, VectorLayout


@dataclass(frozen=True, slots=True)
class Contribution:
    """What goes under the mask."""

    vector: Vector
    layout: VectorLayout
    examples: int
    claimed: bool
    """Whether rows of the log are counted in it, to be marked once the round has them."""

    def without_vector(self) -> Contribution:
        """The same once it is masked: what was under the mask is let go of."""
        return replace(self, vector=self.vector[:0].copy())


class LocalWorker:
    """Trains and counts for one device.

    Args:
        bench: the offers of its log, and the model file.
        log: its local log.
        trainer: trains on them.
        descent: does the same for the rounds of FSVRG; made when None.
    """

    def __init__(
        self, bench: Workbench, log: ImpressionLog, trainer: LocalTrainer, descent: SparseDescent | None = None
    ) -> None:
        self._bench = bench
        self._log = log
        self._trainer = trainer
        sparse = descent or SparseDescent(bench, trainer.pace, np.random.default_rng())
        self._learning = {
            TaskKind.TRAINING: self._descend,
            TaskKind.FEATURE_COUNTS: sparse.counts,
            TaskKind.GRADIENT: sparse.gradient,
            TaskKind.DESCENT: sparse.descent,
        }
        """By kind; in the others nothing is learned."""

    def train(
        self, plan: Plan, model: StoredModel, should_stop: Callable[[], bool], anchor: AnchorPoint | None = None
    ) -> Trained:
        """Learn from the labelled offers of the log what the plan's kind asks for.

        Args:
            plan: says how.
            model: the global model the round starts from.
            should_stop: asked every few milliseconds; True cancels.
            anchor: goes with the model in a descent.

        Raises:
            TrainingStoppedError: it was cancelled.
            PlanRefusedError: the plan does not fit the model.
            LogError: the log cannot be read.
        """
        if should_stop():
            raise TrainingStoppedError
        learn = self._learning.get(plan.kind)
        if learn is None:
            return Trained.nothing(len(model.weights))
        if plan.codec.dimension != len(model.weights):
            raise PlanRefusedError(PlanRefusal.DIMENSION)
        return learn(plan, model, anchor, should_stop)

    def _descend(
        self, plan: Plan, model: StoredModel, anchor: AnchorPoint | None, should_stop: Callable[[], bool]
    ) -> Trained:
        """ClientUpdate (arXiv 1602.05629, algorithm 1)."""
        from suggestion_model.training import LocalSetting

        offers = self._bench.newest()
        if not offers:
            return Trained.nothing(len(model.weights))
        training = plan.training
        if training.batch_size > self._bench.ranker.head.batch:
            raise PlanRefusedError(PlanRefusal.BATCH)
        setting = LocalSetting(
            epochs=training.epochs,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            proximal=training.proximal,
        )
        update, _ = self._trainer.train(model, offers, setting, should_stop)
        return Trained(update.delta, update.examples, update.loss_before, update.loss_after)

    def contribute(
        self, plan: Plan, model: StoredModel, trained: Trained, baseline: StoredModel | None = None
    ) -> Contribution:
        """Encode everything; the log's unreported rows are claimed for the plan's session unless it only judges.

        Args:
            plan: says what is counted.
            model: the global model the round starts from, or judges.
            trained: what :meth:`train` returned.
            baseline: what an evaluation compares with.

        Raises:
            CodecError: the update is not finite (training diverged).
            LogError: the log cannot be read.
        """
        from federated_protocol.update_codec import encode, layout

        if plan.kind is TaskKind.EVALUATION:
            assert baseline is not None
            counters = self._judge(plan.metrics, model, baseline)
            return Contribution(
                vector=encode(trained.delta, 0.0, counters, plan.codec),
                layout=layout(plan.codec, len(counters)),
                examples=int(counters[0]),
                claimed=False,
            )
        if plan.kind is TaskKind.ANALYTICS and not plan.metrics.exact:
            return self._estimated(plan)
        reports = plan.kind.reports_usage and plan.metrics.exact
        usage = self._log.usage_unreported(plan.session) if reports else []
        rows = self._log.impressions(outcomes=LABELLED, claimed_by=plan.session) if usage else []
        offers = self._scored(model, self._bench.featurized(rows))
        named = count(plan.metrics, trained.examples, usage, offers, self._log.usage_reported())
        counters = np.concatenate([named, trained.features.astype(np.uint64)])
        weight = min(trained.examples, plan.training.weight_cap) / plan.training.weight_cap
        return Contribution(
            vector=encode(trained.delta, weight, counters, plan.codec),
            layout=layout(plan.codec, len(counters)),
            examples=trained.examples,
            claimed=bool(usage),
        )

    def _estimated(self, plan: Plan) -> Contribution:
        """Usage in the place of the update, to be clipped and noised like one."""
        from federated_protocol.privacy import usage_vector
        from federated_protocol.update_codec import encode, layout

        usage = self._log.usage_unreported(plan.session)
        counted = {
            f"{row.arm}/{row.model_version}/{what}": value
            for row in usage
            for what, value in (("lines", row.lines), ("offers", row.offers), ("clicks", row.clicks))
        }
        return Contribution(
            vector=encode(usage_vector(plan.metrics, counted), 1.0, [], plan.codec),
            layout=layout(plan.codec, 0),
            examples=0,
            claimed=bool(usage),
        )

    def _judge(self, metrics: MetricSetting, model: StoredModel, baseline: StoredModel) -> NDArray[np.uint64]:
        """Score the offers that no training has seen with both models: each is judged on what it could not learn."""
        unseen = self._bench.featurized([row for row in self._bench.newest() if row.reported_round is None])
        ours, theirs = self._scored(model, unseen), self._scored(baseline, unseen)
        return np.concatenate([count(metrics, len(unseen), [], ours), judgement(metrics, ours, theirs)])

    def _scored(self, model: StoredModel, examples: list[tuple[Example, LoggedImpression]]) -> ScoredOffers:
        return ScoredOffers(
            logits=self._bench.logits(model, [example for example, _ in examples]),
            clicked=np.array([row.outcome is Outcome.TAPPED for _, row in examples], bool),
            inverse_propensity=np.array([1.0 / row.impression.propensity for _, row in examples], np.float64),
        )

    def release(self) -> None:
        """Drop what was made for a round."""
        self._bench.release()


def count(
    metrics: MetricSetting,
    examples: int,
    usage: list[UsageCount],
    offers: ScoredOffers,
    reported: Sequence[UsageCount] = (),
) -> NDArray[np.uint64]:
    """Every exact counter of a plan, in the order of :func:`~federated_protocol.plan.counter_names`.

    Args:
        metrics: which slots and bins.
        examples: n_k.
        usage: lines, offers and clicks not reported yet; slots the plan does not ask for are left out.
        offers: for the histograms.
        reported: what earlier rounds counted, for the growth of the six moments.

    Returns:
        uint64[len(counter_names(metrics))], of a paired setting without the baseline's part.
    """
    if not metrics.exact:
        return np.zeros(0, np.uint64)
    counted = {(row.arm, row.model_version): row for row in usage}
    earlier = {(row.arm, row.model_version): row for row in reported}
    reporting = {row.arm for row in usage}
    values = [examples, int(examples > 0), *(int(arm in reporting) for arm in arms_of(metrics))]
    for slot in metrics.slots:
        row = counted.get((slot.arm, slot.version))
        if row is None:
            values += [0] * (3 + len(USAGE_MOMENTS))
        else:
            before = earlier.get((slot.arm, slot.version))
            values += [row.lines, row.offers, row.clicks, *moment_growth(row, before, metrics.usage_clip)]
    return np.concatenate([np.array(values, np.uint64), histograms(metrics, offers)])


def moment_growth(new: UsageCount, before: UsageCount | None, clip: int) -> list[int]:
    """By how much a report moves one device's terms of :data:`~federated_protocol.plan.USAGE_MOMENTS`.

    Args:
        new: what is reported now under one slot.
        before: what was reported under it earlier, None for a first report.
        clip: offers beyond this many are left out, and with them their share of the clicks.

    Returns:
        n, c, m, c², m², c·m after this report minus before it; none is negative.
    """
    if before is not None and before.offers >= clip:
        return [0] * len(USAGE_MOMENTS)
    m0, c0 = (0, 0) if before is None else (before.offers, before.clicks)
    room = max(clip - m0, 0)
    kept = min(new.offers, room)
    m1 = m0 + kept
    c1 = c0 + (new.clicks if kept == new.offers else round(new.clicks * kept / new.offers))
    return [int(before is None), c1 - c0, m1 - m0, c1 * c1 - c0 * c0, m1 * m1 - m0 * m0, c1 * m1 - c0 * m0]
