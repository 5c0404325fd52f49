"""What a device computes for a round: ClientUpdate on its own log, then one integer vector to be masked.

The vector is ``[encoded w·Δ | w | counters]`` (:mod:`federated_protocol.update_codec`), with w = min(n_k, W) / W.
Counters stand in the order of :func:`federated_protocol.plan.counter_names`. The score histograms are taken under the
global model the round starts from, so that all devices' bins mean the same; each offer counts with its inverse
propensity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_logging.records import LoggedImpression, Outcome, UsageCount
from federated_protocol.plan import USAGE_MOMENTS, MetricSetting, Plan, TaskKind, arms_of
from keyboard_app.device.local_evaluation import ScoredOffers, histograms, judgement
from keyboard_app.device.model_store import StoredModel
from keyboard_app.device.personal_model import PersonalModel, PersonalSetting
from keyboard_app.device.policy import PlanRefusal, PlanRefusedError
from suggestion_model.types import Example

if TYPE_CHECKING:
    from data_logging import ImpressionLog
    from federated_protocol.vector_layout import Vector, VectorLayout
    from suggestion_model.bundle import Bundle
    from suggestion_model.features import Featurizer
    from suggestion_model.runtime import Ranker
    from suggestion_model.training import LocalSetting, LocalUpdate

LABELLED = (Outcome.TAPPED, Outcome.DISMISSED, Outcome.IGNORED)


class TrainingStoppedError(Exception):
    """Training was cancelled before its end; nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of local training."""

    delta: NDArray[np.float32]
    """float32[d], local minus global weights; zeros without examples."""
    examples: int
    """n_k, the examples trained on."""
    loss_before: float
    loss_after: float


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far the training that runs at this moment is."""

    step: int
    """Steps done, 0..steps."""
    steps: int
    examples: int


@dataclass(frozen=True, slots=True)
class Contribution:
    """What goes under the mask."""

    vector: Vector
    layout: VectorLayout
    examples: int
    claimed: bool
    """Whether rows of the log are counted in it, to be marked once the round has them."""


class LocalWorker:
    """Trains and counts for one device.

    Args:
        bundle: the release on this device.
        log: its local log.
        most_examples: only the newest so many labelled offers are used.
        ranker: a ranker for training alone, shared by several workers of one thread; by default a worker makes its
            own when a round needs it and drops it afterwards.
        rng: order of the examples (not a secret).
    """

    def __init__(
        self,
        bundle: Bundle,
        log: ImpressionLog,
        most_examples: int = 4_000,
        ranker: Ranker | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._bundle = bundle
        self._log = log
        self._most_examples = most_examples
        self._shared = ranker
        self._own: Ranker | None = None
        self._featurizer: Featurizer | None = None
        self.progress: TrainingProgress | None = None
        """How far training is, None while none runs; may be read from any thread."""
        self._rng = rng if rng is not None else np.random.default_rng()

    def train(self, plan: Plan, model: StoredModel, should_stop: Callable[[], bool]) -> Trained:
        """Run ClientUpdate (arXiv 1602.05629, algorithm 1) on the labelled offers of the log.

        Args:
            plan: says how.
            model: the global model the round starts from.
            should_stop: asked between steps; True cancels.

        Nothing is trained in an evaluation or for analytics.

        Raises:
            TrainingStoppedError: it was cancelled.
            PlanRefusedError: batches are larger than the model file's.
            LogError: the log cannot be read.
        """
        from suggestion_model.training import LocalSetting

        examples = self._examples() if plan.kind is TaskKind.TRAINING else []
        if should_stop():
            raise TrainingStoppedError
        if not examples:
            return Trained(np.zeros_like(model.weights), 0, 0.0, 0.0)
        training = plan.training
        if training.batch_size > self._ranker().train_batch:
            raise PlanRefusedError(PlanRefusal.BATCH)
        setting = LocalSetting(
            epochs=training.epochs,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            proximal=training.proximal,
        )
        update = self._train(model, examples, setting, should_stop)
        return Trained(update.delta, update.examples, update.loss_before, update.loss_after)

    def personalise(
        self, model: StoredModel, setting: PersonalSetting, when: float, should_stop: Callable[[], bool]
    ) -> PersonalModel | None:
        """Train ``model`` further for this device alone.

        The newest ``setting.held_out`` of the offers are not trained on; the result is kept only when their mean
        loss does not go up.

        Args:
            model: the shared model to start from.
            setting: how.
            when: Unix time in seconds, noted in the result.
            should_stop: asked between steps; True cancels.

        Returns:
            None when the log holds too few labelled offers.

        Raises:
            TrainingStoppedError: it was cancelled.
            LogError: the log cannot be read.
        """
        from suggestion_model.training import LocalSetting, mean_loss

        rows = self._log.impressions(outcomes=LABELLED, newest_first=True, limit=self._most_examples)[::-1]
        examples = [example for example, _ in self._featurized(rows)]
        if len(examples) < setting.smallest_examples:
            return None
        cut = len(examples) - max(1, round(setting.held_out * len(examples)))
        how = LocalSetting(
            setting.epochs, min(setting.batch_size, self._ranker().train_batch), setting.learning_rate, setting.proximal
        )
        update = self._train(model, examples[:cut], how, should_stop)
        ranker, weights = self._ranker(), model.weights + update.delta
        losses = []
        for judged in (model.weights, weights):
            ranker.set_weights(judged)
            losses.append(mean_loss(ranker, examples[cut:]))
        better = bool(np.isfinite(weights).all()) and losses[1] <= losses[0]
        return PersonalModel(
            base_version=model.version,
            base_digest=model.digest,
            examples=cut,
            newest=rows[-1].id,
            loss_shared=losses[0],
            loss_personal=losses[1],
            trained_at=when,
            weights=weights.astype("<f4").tobytes() if better else b"",
        )

    def _train(
        self, model: StoredModel, examples: list[Example], setting: LocalSetting, should_stop: Callable[[], bool]
    ) -> LocalUpdate:
        """Train, counting the steps for whoever watches.

        Raises:
            TrainingStoppedError: it was cancelled.
        """
        from suggestion_model.training import train_locally

        steps = setting.epochs * math.ceil(len(examples) / setting.batch_size)
        self.progress = TrainingProgress(0, steps, len(examples))
        asked = 0

        def stop() -> bool:
            nonlocal asked
            self.progress = TrainingProgress(asked, steps, len(examples))
            asked += 1
            return should_stop()

        try:
            update = train_locally(self._ranker(), model.weights, examples, setting, self._rng, stop)
        finally:
            self.progress = None
        if update.stopped:
            raise TrainingStoppedError
        return update

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
        usage = self._log.usage_unreported(plan.session) if plan.metrics.exact else []
        rows = self._log.impressions(outcomes=LABELLED, claimed_by=plan.session) if usage else []
        offers = self._scored(model, self._featurized(rows))
        counters = count(plan.metrics, trained.examples, usage, offers, self._log.usage_reported())
        weight = min(trained.examples, plan.training.weight_cap) / plan.training.weight_cap
        return Contribution(
            vector=encode(trained.delta, weight, counters, plan.codec),
            layout=layout(plan.codec, len(counters)),
            examples=trained.examples,
            claimed=bool(usage),
        )

    def _judge(self, metrics: MetricSetting, model: StoredModel, baseline: StoredModel) -> NDArray[np.uint64]:
        """Score the offers that no training has seen with both models: each is judged on what it could not learn."""
        newest = self._log.impressions(outcomes=LABELLED, newest_first=True, limit=self._most_examples)
        unseen = self._featurized([row for row in newest if row.reported_round is None])
        ours, theirs = self._scored(model, unseen), self._scored(baseline, unseen)
        return np.concatenate([count(metrics, len(unseen), [], ours), judgement(metrics, ours, theirs)])

    def _scored(self, model: StoredModel, examples: list[tuple[Example, LoggedImpression]]) -> ScoredOffers:
        return ScoredOffers(
            logits=self._logits(model, [example for example, _ in examples]),
            clicked=np.array([row.outcome is Outcome.TAPPED for _, row in examples], bool),
            inverse_propensity=np.array([1.0 / row.impression.propensity for _, row in examples], np.float64),
        )

    def release(self) -> None:
        """Drop what was made for a round: a few MiB that nobody needs until the next one."""
        self._own = None
        self._featurizer = None

    def _ranker(self) -> Ranker:
        if self._shared is not None:
            return self._shared
        if self._own is None:
            from suggestion_model.runtime import Ranker

            self._own = Ranker(self._bundle)
        return self._own

    def _examples(self) -> list[Example]:
        newest = self._log.impressions(outcomes=LABELLED, newest_first=True, limit=self._most_examples)
        return [example for example, _ in self._featurized(newest[::-1])]

    def _featurized(self, rows: list[LoggedImpression]) -> list[tuple[Example, LoggedImpression]]:
        """Labelled offers as examples; rows an older version logged with other features are passed over."""
        if not rows:
            return []
        from suggestion_model.features import DENSE_FEATURES, Featurizer

        if self._featurizer is None:
            self._featurizer = Featurizer(self._bundle)
        featurizer = self._featurizer
        fitting = [row for row in rows if row.impression.shown and len(row.impression.features) == DENSE_FEATURES]
        return [(featurizer.example(row), row) for row in fitting]

    def _logits(self, model: StoredModel, examples: list[Example]) -> NDArray[np.float32]:
        if not examples:
            return np.zeros(0, np.float32)
        from suggestion_model.training import example_scores

        ranker = self._ranker()
        ranker.set_weights(model.weights)
        return example_scores(ranker, examples)


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
