"""What a device does for the rounds of FSVRG, what it refuses, and that the keyboard ranks with what came of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from data_logging import ImpressionLog, Outcome
from federated_protocol import wire
from federated_protocol.messages import Anchor, ModelArtifact
from federated_protocol.plan import (
    AggregationSetting,
    MetricSetting,
    MetricSlot,
    ModelReference,
    Plan,
    SubsetBlock,
    TaskKind,
    TrainingSetting,
    VarianceReduction,
    counter_names,
    number_of_counters,
)
from federated_protocol.update_codec import decode_sum, solve_codec
from keyboard_app.device.local_training import LocalTrainer
from keyboard_app.device.local_work import Contribution, LocalWorker
from keyboard_app.device.model_store import ModelRejectedError, ModelStore, StoredModel
from keyboard_app.device.policy import DevicePolicy, PlanRefusal, PlanRefusedError
from keyboard_app.device.sparse_descent import AnchorPoint, SparseDescent, read_anchor
from keyboard_app.device.workbench import LABELLED, TrainingStoppedError, Workbench
from keyboard_app.suggestions import SuggestionEngine
from suggestion_model.algorithms.fsvrg import Fsvrg, count_vector
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog
from suggestion_model.features import DENSE_FEATURES, Featurizer
from suggestion_model.head_trainer import HeadRows, HeadTrainer
from suggestion_model.runtime import Ranker
from suggestion_model.sparse import SparseRows, gradient_sum, logits
from suggestion_model.types import Context, Head
from tests.keyboard_app.offers import offer
from tests.plans import TRAINING, plan_with

EXAMPLES = 30
DEVICES = 8


@pytest.fixture(scope="module")
def dimension(bundle: Bundle) -> int:
    return bundle.architecture.hash_buckets


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ImpressionLog]:
    log = ImpressionLog(tmp_path / "log.sqlite")
    rng = np.random.default_rng(0)
    for number in range(EXAMPLES):
        impression = offer(
            created_at=log.clock(),
            context=("something to eat nearby", "a flight to kyoto", "what is on tonight")[number % 3],
            candidate="ramen in kyoto",
            category=("restaurants", "travel")[number % 2],
            features=tuple(np.abs(rng.normal(size=DENSE_FEATURES)).tolist()),
        )
        log.finish_line("treatment", 0, impression, Outcome.TAPPED if number % 4 == 0 else Outcome.IGNORED)
        log.count_line("treatment", 0)
    yield log
    log.close()


@pytest.fixture
def rows(bundle: Bundle, log: ImpressionLog) -> SparseRows:
    return SparseRows.of(Featurizer(bundle).examples(log.impressions(outcomes=LABELLED)))


@pytest.fixture
def model(dimension: int) -> StoredModel:
    weights = np.random.default_rng(1).normal(0, 0.3, dimension).astype(np.float32)
    return StoredModel(3, "3" * 64, weights, 0.0, Head.TRIGGER)


@pytest.fixture
def worker(bundle: Bundle, log: ImpressionLog, ranker: Ranker) -> LocalWorker:
    bench = Workbench(bundle, log, 4_000, ranker)
    trainer = LocalTrainer(bench)
    return LocalWorker(bench, log, trainer, SparseDescent(bench, trainer.pace, np.random.default_rng(7)))


@pytest.fixture
def anchor(dimension: int) -> AnchorPoint:
    rng = np.random.default_rng(2)
    return AnchorPoint(rng.normal(0, 0.1, dimension), rng.uniform(0.01, 1, dimension))


def taking(reduction: VarianceReduction) -> TrainingSetting:
    return msgspec.structs.replace(TRAINING, variance_reduction=reduction)


def plan_of(kind: TaskKind, dimension: int, **changes: Any) -> Plan:
    """As the coordinator makes it."""
    codec = solve_codec(dimension, 90.0, 1e-3, bytes(32), 64, DEVICES)
    if kind is TaskKind.FEATURE_COUNTS:
        one = (SubsetBlock(dimension, 1),)
        codec = solve_codec(dimension, 1.0, 0.5, b"", 1, DEVICES, count_bits=12, subset=one, subset_seed=bytes(32))
    descends = kind is TaskKind.DESCENT
    plan = plan_with(
        codec,
        kind=kind,
        model_version=3,
        model_digest="3" * 64,
        training=taking(VarianceReduction(5.0, 1e-4, "a" * 64)) if descends else TRAINING,
        aggregation=AggregationSetting(20, DEVICES * 4),
        metrics=MetricSetting((MetricSlot("treatment", 0),), (0.0,)) if descends else MetricSetting((), ()),
    )
    return msgspec.structs.replace(plan, **changes)


def done(
    worker: LocalWorker, plan: Plan, model: StoredModel, anchor: AnchorPoint | None = None
) -> tuple[Contribution, np.ndarray, np.ndarray]:
    """What goes under the mask, and its update and counters as one device's sum would decode."""
    trained = worker.train(plan, model, lambda: False, anchor)
    made = worker.contribute(plan, model, trained)
    decoded = decode_sum(made.vector, plan.codec, 1)
    assert len(decoded.counters) == number_of_counters(plan)
    return made, decoded.update_sum / (decoded.weight_sum or 1.0), decoded.counters.astype(np.int64)


def test_features_are_counted_exactly_and_nothing_else_is_said(
    worker: LocalWorker, model: StoredModel, rows: SparseRows, log: ImpressionLog, dimension: int
) -> None:
    made, update, counters = done(worker, plan_of(TaskKind.FEATURE_COUNTS, dimension), model)
    assert not update.any()
    assert counters[:2].tolist() == [EXAMPLES, 1]
    assert not counters[2 : -2 * dimension].any()
    assert np.array_equal(counters[-2 * dimension :], count_vector(rows, dimension)[: 2 * dimension])
    assert not made.claimed
    assert log.usage_unreported()


def test_a_device_counts_no_more_examples_than_a_counter_of_the_plan_holds(
    worker: LocalWorker, model: StoredModel, rows: SparseRows, dimension: int
) -> None:
    plan = plan_of(TaskKind.FEATURE_COUNTS, dimension)
    narrow = msgspec.structs.replace(plan, codec=msgspec.structs.replace(plan.codec, count_bits=6, count_cap=7))
    _, _, counters = done(worker, narrow, model)
    assert counters[0] == 7
    newest = SparseRows(rows.ids[-7:], rows.values[-7:], rows.label[-7:], rows.weight[-7:])
    assert np.array_equal(counters[-2 * dimension :], count_vector(newest, dimension)[: 2 * dimension])


def test_the_gradient_is_the_mean_over_the_devices_examples(
    worker: LocalWorker, model: StoredModel, rows: SparseRows, log: ImpressionLog, dimension: int
) -> None:
    made, update, counters = done(worker, plan_of(TaskKind.GRADIENT, dimension), model)
    expected = gradient_sum(model.weights.astype(float), rows) / EXAMPLES
    assert np.abs(expected).max() > 0.1
    assert update == pytest.approx(expected, abs=0.01)
    assert counters[:2].tolist() == [EXAMPLES, 1]
    assert not made.claimed
    assert log.usage_unreported()


def test_a_descent_is_the_laboratorys_pass_and_reports_usage(
    worker: LocalWorker,
    model: StoredModel,
    anchor: AnchorPoint,
    rows: SparseRows,
    log: ImpressionLog,
    dimension: int,
) -> None:
    made, update, _ = done(worker, plan_of(TaskKind.DESCENT, dimension), model, anchor)
    expected = Fsvrg(5.0, 1e-4).update(
        model.weights.astype(float), anchor.gradient, rows, anchor.feature_share, np.random.default_rng(7)
    )
    assert np.abs(expected).max() > 0.1
    assert update == pytest.approx(expected, abs=0.01)
    assert made.claimed


def test_a_device_without_examples_adds_zeros_of_the_right_shape(
    tmp_path: Path, bundle: Bundle, ranker: Ranker, model: StoredModel, anchor: AnchorPoint, dimension: int
) -> None:
    log = ImpressionLog(tmp_path / "empty.sqlite")
    bench = Workbench(bundle, log, 4_000, ranker)
    for kind in (TaskKind.FEATURE_COUNTS, TaskKind.GRADIENT, TaskKind.DESCENT):
        made, update, counters = done(
            LocalWorker(bench, log, LocalTrainer(bench)), plan_of(kind, dimension), model, anchor
        )
        assert made.examples == 0
        assert not update.any()
        assert not counters.any()
    log.close()


def test_an_evaluation_scores_with_the_trigger_where_that_is_judged(
    worker: LocalWorker, model: StoredModel, rows: SparseRows, dimension: int
) -> None:
    plan = plan_of(
        TaskKind.EVALUATION,
        dimension,
        codec=plan_of(TaskKind.FEATURE_COUNTS, dimension).codec,
        metrics=MetricSetting((), (0.0,), paired=True),
        baseline=ModelReference(0, "b" * 64),
    )
    baseline = StoredModel(0, "b" * 64, np.zeros(dimension, np.float32), 0.0, Head.TRIGGER)
    trained = worker.train(plan, model, lambda: False)
    counters = decode_sum(worker.contribute(plan, model, trained, baseline).vector, plan.codec, 1).counters
    said = dict(zip(counter_names(plan.metrics), counters.tolist(), strict=True))
    above = int((logits(model.weights.astype(float), rows) > 0).sum())
    assert 0 < above < EXAMPLES
    scale = plan.metrics.propensity_scale
    assert (said["offers_by_score/0"], said["offers_by_score/1"]) == ((EXAMPLES - above) * scale, above * scale)
    assert said["baseline_offers_by_score/0"] == EXAMPLES * scale


def test_it_stops_when_told_to(worker: LocalWorker, model: StoredModel, dimension: int) -> None:
    answers = iter([False, True])
    with pytest.raises(TrainingStoppedError):
        worker.train(plan_of(TaskKind.GRADIENT, dimension), model, lambda: next(answers))


def test_fsvrg_is_for_the_trigger_alone(worker: LocalWorker, bundle: Bundle, dimension: int) -> None:
    ranker_model = StoredModel(0, "", bundle.weights0, bundle.threshold0)
    for plan_dimension, reason in ((dimension, PlanRefusal.DIMENSION), (bundle.dimension, PlanRefusal.TASK)):
        with pytest.raises(PlanRefusedError) as caught:
            worker.train(plan_of(TaskKind.GRADIENT, plan_dimension), ranker_model, lambda: False)
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        (TaskKind.DESCENT, {"training": TRAINING}, PlanRefusal.TASK),
        (TaskKind.GRADIENT, {"training": taking(VarianceReduction(1.0, 0.0, "a" * 64))}, PlanRefusal.TASK),
        (TaskKind.GRADIENT, {"metrics": MetricSetting((MetricSlot("treatment", 0),), ())}, PlanRefusal.TASK),
        (TaskKind.FEATURE_COUNTS, {"baseline": ModelReference(0, "b" * 64)}, PlanRefusal.TASK),
        (TaskKind.DESCENT, {"training": taking(VarianceReduction(1e9, 0.0, "a" * 64))}, PlanRefusal.LEARNING_RATE),
        (TaskKind.DESCENT, {"training": taking(VarianceReduction(1.0, -1.0, "a" * 64))}, PlanRefusal.LEARNING_RATE),
        (TaskKind.FEATURE_COUNTS, {"aggregation": AggregationSetting(19, 32)}, PlanRefusal.FLOOR),
        (TaskKind.GRADIENT, {"aggregation": AggregationSetting(19, 32)}, PlanRefusal.FLOOR),
    ],
)
def test_the_policy_is_as_strict_as_for_other_tasks(
    kind: TaskKind, changes: dict[str, Any], reason: PlanRefusal, bundle: Bundle, dimension: int
) -> None:
    def with_codec(plan: Plan) -> Plan:
        """The codec of a cohort as large as the aggregation says."""
        known, cohort = plan.codec, plan.aggregation.largest_cohort
        codec = solve_codec(
            known.dimension, known.clip, known.step, known.rotation_seed, known.weight_levels, cohort,
            known.count_bits, known.subset, known.subset_seed,
        )  # fmt: skip
        return msgspec.structs.replace(plan, codec=codec)

    policy, sizes = DevicePolicy(), (bundle.dimension, dimension)
    policy.check(with_codec(plan_of(kind, dimension)), *sizes)
    with pytest.raises(PlanRefusedError) as caught:
        policy.check(with_codec(plan_of(kind, dimension, **changes)), *sizes)
    assert caught.value.reason is reason


def encoded(gradient: np.ndarray, share: np.ndarray) -> bytes:
    return wire.encode(Anchor(gradient.astype("<f4").tobytes(), share.astype("<f4").tobytes()))


def test_an_anchor_is_what_the_plan_names_or_nothing() -> None:
    honest = encoded(np.array([1.0, -2.0]), np.array([0.0, 1.0]))
    digest = hashlib.sha256(honest).hexdigest()
    read = read_anchor(honest, digest, 2)
    assert (read.gradient.tolist(), read.feature_share.tolist()) == ([1.0, -2.0], [0.0, 1.0])
    for raw, dimension in (
        (honest, 3),
        (b"", 2),
        (encoded(np.array([np.nan, 0.0]), np.ones(2)), 2),
        (encoded(np.ones(2), np.array([0.5, 1.5])), 2),
        (encoded(np.ones(2), np.array([-0.1, 0.5])), 2),
        (encoded(np.ones(2), np.ones(1)), 2),
    ):
        with pytest.raises(ModelRejectedError):
            read_anchor(raw, hashlib.sha256(raw).hexdigest(), dimension)
    with pytest.raises(ModelRejectedError, match="SHA-256"):
        read_anchor(honest, "0" * 64, 2)


def test_the_keyboard_scores_with_the_trigger_as_its_model_file_and_as_training_does(
    tmp_path: Path, bundle: Bundle, model: StoredModel
) -> None:
    queries = tmp_path / "queries.csv"
    queries.write_text("query,category\nthai restaurants in oakland,restaurants\nflights to denver,travel\n")
    log = ImpressionLog(tmp_path / "log-of-a-session.sqlite")
    engine = SuggestionEngine(bundle, load_catalog(queries), log)
    context = Context("any thai restaurants in oakland")
    before = engine.suggest(context)
    assert before is not None
    engine.use_model(3, model.weights, 0.25, head=Head.TRIGGER)
    decision = engine.suggest(context)
    assert decision is not None
    assert decision.model.version == 3
    assert decision.score != before.score
    impression = offer(
        created_at=log.clock(),
        context=context.composed,
        candidate=decision.candidate.query,
        category=decision.candidate.category,
        entity_types=decision.candidate.entity_types,
        baseline_score=decision.candidate.score,
        features=decision.features,
        model_version=3,
    )
    log.finish_line("treatment", 3, impression, Outcome.TAPPED)
    (example,) = Featurizer(bundle).examples(log.impressions(outcomes=LABELLED))
    seen = SparseRows.of([example])
    assert decision.score == pytest.approx(float(logits(model.weights.astype(float), seen)[0]), abs=1e-5)
    inputs = {"hashed_ids": seen.ids, "hashed_values": seen.values}
    (by_file,) = HeadTrainer.load(bundle.trigger).logits(model.weights, HeadRows(inputs, seen.label, seen.weight))
    assert decision.score == pytest.approx(float(by_file), abs=1e-5)
    engine.use_model(4, bundle.weights0, 0.0)
    after = engine.suggest(context)
    assert after is not None
    assert after.score == pytest.approx(before.score)
    log.close()


def test_both_heads_begin_with_the_same_logit(tmp_path: Path, bundle: Bundle) -> None:
    queries = tmp_path / "queries.csv"
    queries.write_text("query,category\nthai restaurants in oakland,restaurants\n")
    engine = SuggestionEngine(bundle, load_catalog(queries))
    scores = []
    for head in Head:
        engine.use_model(0, bundle.start(head)[1], 0.0, head=head)
        decision = engine.suggest(Context("thai restaurants in oakland"))
        assert decision is not None
        scores.append(decision.score)
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_a_store_tells_the_heads_apart_by_what_the_weights_are_for(
    tmp_path: Path, bundle: Bundle, model: StoredModel
) -> None:
    shape, _ = bundle.start(Head.TRIGGER)
    store = ModelStore(tmp_path, bundle.digest, bundle.weights0, bundle.threshold0, heads=bundle.heads)

    def artifact(digest: str, weights: np.ndarray) -> tuple[bytes, str]:
        raw = wire.encode(ModelArtifact(1, 0, digest, weights.astype("<f4").tobytes(), 0.5))
        return raw, hashlib.sha256(raw).hexdigest()

    raw, digest = artifact(shape.digest, model.weights)
    assert store.verify(raw, 1, digest).head is Head.TRIGGER
    raw, digest = artifact(bundle.digest, bundle.weights0)
    assert store.verify(raw, 1, digest).head is Head.RANKER
    for wrong in ((bundle.digest, model.weights), (shape.digest, bundle.weights0), ("c" * 64, model.weights)):
        raw, digest = artifact(*wrong)
        with pytest.raises(ModelRejectedError):
            store.verify(raw, 1, digest)
