"""What a device computes for a round: counters in the plan's order, training that can be stopped, the vector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_logging import ImpressionLog, Outcome, UsageCount
from federated_protocol.plan import (
    LOSS_LEVELS,
    AggregationSetting,
    MetricSetting,
    MetricSlot,
    ModelReference,
    Plan,
    SubsetBlock,
    TaskKind,
    TrainingSetting,
    counter_names,
)
from federated_protocol.privacy import estimated_names, read_estimates
from federated_protocol.update_codec import decode_sum, solve_codec
from keyboard_app.device.local_evaluation import LARGEST_INVERSE_PROPENSITY, ScoredOffers
from keyboard_app.device.local_training import LocalTrainer
from keyboard_app.device.local_work import LocalWorker, count
from keyboard_app.device.model_store import StoredModel
from keyboard_app.device.pace import Pace
from keyboard_app.device.policy import DevicePolicy, PlanRefusedError
from keyboard_app.device.unfinished_training import UnfinishedTraining
from keyboard_app.device.workbench import TrainingStoppedError, Workbench
from suggestion_model.bundle import Bundle
from suggestion_model.features import DENSE_FEATURES
from suggestion_model.runtime import Ranker
from tests.keyboard_app.offers import offer
from tests.plans import plan_with

METRICS = MetricSetting(
    slots=(MetricSlot("holdback", 0), MetricSlot("treatment", 3)), score_edges=(-1.0, 0.0, 1.0), propensity_scale=4
)


def offers(logits: list[float], clicked: list[bool], inverse: list[float] | None = None) -> ScoredOffers:
    return ScoredOffers(
        np.array(logits, np.float32),
        np.array(clicked, bool),
        np.array([1.0] * len(logits) if inverse is None else inverse),
    )


def named(counters: np.ndarray) -> dict[str, int]:
    return dict(zip(counter_names(METRICS), counters.tolist(), strict=True))


def test_every_counter_stands_where_its_name_stands() -> None:
    usage = [
        UsageCount("treatment", 3, 20, 4, 1),
        UsageCount("holdback", 0, 7, 2, 0),
        UsageCount("treatment", 1, 9, 9, 9),
    ]
    sums = named(count(METRICS, 12, usage, offers([-5.0, 0.5, 9.0], [False, True, False])))
    assert sums["examples"] == 12
    assert sums["devices_with_examples"] == 1
    assert [sums[f"treatment/3/{what}"] for what in ("lines", "offers", "clicks")] == [20, 4, 1]
    assert [sums[f"holdback/0/{what}"] for what in ("lines", "offers", "clicks")] == [7, 2, 0]
    assert [sums[f"offers_by_score/{b}"] for b in range(4)] == [4, 0, 4, 4]
    assert [sums[f"clicks_by_score/{b}"] for b in range(4)] == [0, 0, 4, 0]


def test_a_logit_on_an_edge_lies_below_it_as_an_offer_needs_more_than_its_threshold() -> None:
    sums = named(count(METRICS, 0, [], offers([0.0, 0.0001], [True, True])))
    assert sums["clicks_by_score/1"] == 4
    assert sums["clicks_by_score/2"] == 4
    assert sums["devices_with_examples"] == 0


@given(
    st.lists(st.tuples(st.floats(-20, 20), st.booleans(), st.floats(1, 1000)), max_size=30),
)
def test_histograms_hold_every_offer_once_with_its_clipped_inverse_propensity(
    rows: list[tuple[float, bool, float]],
) -> None:
    logits, clicked, inverse = ([row[i] for row in rows] for i in range(3))
    sums = named(count(METRICS, 1, [], offers(logits, clicked, inverse)))
    mass = [4 * min(value, LARGEST_INVERSE_PROPENSITY) for value in inverse]
    assert sum(sums[f"offers_by_score/{b}"] for b in range(4)) == pytest.approx(sum(mass), abs=2.1)
    tapped = sum(m for m, click in zip(mass, clicked, strict=True) if click)
    assert sum(sums[f"clicks_by_score/{b}"] for b in range(4)) == pytest.approx(tapped, abs=2.1)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ImpressionLog]:
    log = ImpressionLog(tmp_path / "log.sqlite")
    for number in range(40):
        shown = number % 4 != 3
        log.finish_line(
            "treatment",
            0,
            offer(
                created_at=log.clock(),
                context="something to eat nearby",
                candidate="ramen in kyoto",
                features=(0.01 * number,) * (DENSE_FEATURES if number else 3),
                shown=shown,
            ),
            (Outcome.TAPPED if number % 2 else Outcome.IGNORED) if shown else Outcome.WITHHELD,
        )
    yield log
    log.close()


@pytest.fixture
def model(bundle: Bundle) -> StoredModel:
    return StoredModel(0, "", bundle.weights0, bundle.threshold0)


def make_plan(bundle: Bundle) -> Plan:
    return plan_with(
        solve_codec(bundle.dimension, 10.0, 0.001, bytes(32), 1024, 8),
        model_version=0,
        model_digest="",
        training=TrainingSetting(epochs=2, batch_size=16, learning_rate=0.02, weight_cap=60),
        aggregation=AggregationSetting(4, 8),
        metrics=MetricSetting((MetricSlot("treatment", 0),), (0.0,)),
    )


def worker_of(
    bundle: Bundle, log: ImpressionLog, ranker: Ranker, most_examples: int = 4_000, trainer: LocalTrainer | None = None
) -> LocalWorker:
    bench = Workbench(bundle, log, most_examples, ranker)
    return LocalWorker(bench, log, trainer or LocalTrainer(bench))


def test_only_labelled_offers_of_this_versions_features_are_learned_from(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel
) -> None:
    trained = worker_of(bundle, log, ranker).train(make_plan(bundle), model, lambda: False)
    assert trained.examples == 29
    assert trained.loss_after < trained.loss_before
    assert np.any(trained.delta)


def test_the_vector_decodes_to_the_weighted_update_and_the_counters(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel
) -> None:
    plan, worker = make_plan(bundle), worker_of(bundle, log, ranker)
    trained = worker.train(plan, model, lambda: False)
    contribution = worker.contribute(plan, model, trained)
    assert contribution.claimed
    decoded = decode_sum(contribution.vector, plan.codec, 1)
    sums = dict(zip(counter_names(plan.metrics), decoded.counters.tolist(), strict=True))
    assert decoded.weight_sum == pytest.approx(29 / 60, abs=1e-3)
    assert sums["examples"] == 29
    assert sums["treatment/0/lines"] == 40
    assert sums["treatment/0/offers"] == 30
    np.testing.assert_allclose(decoded.mean_update(), trained.delta, atol=5e-3)


def test_training_stops_when_told_and_goes_on_where_it_was(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel, tmp_path: Path
) -> None:
    bench, asked = Workbench(bundle, log, ranker=ranker), []
    before, plan = ranker.weights(), make_plan(bundle)

    def trainer() -> LocalTrainer:
        made = LocalTrainer(bench, UnfinishedTraining(tmp_path / "unfinished"), rng=np.random.default_rng(7))
        made.steps_a_call = 1
        return made

    def stop_before_the_third_step() -> bool:
        asked.append(1)
        return len(asked) == 5  # once for the log, once for its features, once a step

    with pytest.raises(TrainingStoppedError):
        worker_of(bundle, log, ranker, trainer=trainer()).train(plan, model, stop_before_the_third_step)
    assert len(asked) == 5
    np.testing.assert_array_equal(ranker.weights(), before)
    steps: list[int] = []
    again = trainer()

    def watch() -> bool:
        steps.extend([again.progress.step] if again.progress else [])
        return False

    resumed = worker_of(bundle, log, ranker, trainer=again).train(plan, model, watch)
    assert steps == [2, 3], "two of four steps were left"
    whole = LocalTrainer(bench, rng=np.random.default_rng(7))
    straight = worker_of(bundle, log, ranker, trainer=whole).train(plan, model, lambda: False)
    np.testing.assert_allclose(resumed.delta, straight.delta, atol=1e-6)
    assert not (tmp_path / "unfinished").exists()


def test_a_stopped_training_on_other_offers_starts_over(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel
) -> None:
    bench = Workbench(bundle, log, ranker=ranker)
    trainer = LocalTrainer(bench)
    trainer.steps_a_call = 1
    worker, asked = LocalWorker(bench, log, trainer), []

    def stop_late() -> bool:
        asked.append(1)
        return len(asked) == 5

    with pytest.raises(TrainingStoppedError):
        worker.train(make_plan(bundle), model, stop_late)
    log.resolve(log.impressions()[-2].id, Outcome.DISMISSED)
    log.delete(log.impressions()[-2].id)
    steps: list[int] = []

    def watch() -> bool:
        steps.extend([trainer.progress.step] if trainer.progress else [])
        return False

    worker.train(make_plan(bundle), model, watch)
    assert steps == [0, 1, 2, 3]


def test_work_and_rest_keep_to_the_share() -> None:
    now, rested = [0.0], []
    pace = Pace(0.25, lambda: now[0], rested.append)
    pace.begin()
    for _ in range(20):
        now[0] += 0.004
        pace.rest()
    assert sum(rested) == pytest.approx(3 * 0.004 * 18)
    assert len(rested) == 6, "waking is not free: it rests after every third call"
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match="share"):
            Pace(wrong)


def test_batches_larger_than_the_model_files_are_refused(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel
) -> None:
    plan = msgspec.structs.replace(
        make_plan(bundle), training=TrainingSetting(epochs=1, batch_size=64, learning_rate=0.1, weight_cap=8)
    )
    with pytest.raises(PlanRefusedError):
        worker_of(bundle, log, ranker).train(plan, model, lambda: False)


def test_the_newest_examples_are_preferred_when_there_are_too_many(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel
) -> None:
    worker = worker_of(bundle, log, ranker, most_examples=5)
    assert worker.train(make_plan(bundle), model, lambda: False).examples == 5
    assert [round(row.impression.features[0], 2) for row in worker._bench.newest()] == [0.33, 0.34, 0.36, 0.37, 0.38]


def evaluation_plan(bundle: Bundle) -> Plan:
    return msgspec.structs.replace(
        make_plan(bundle),
        task="suggestions/evaluation",
        kind=TaskKind.EVALUATION,
        codec=solve_codec(bundle.dimension, 1.0, 0.5, b"", 1, 8, 16, (SubsetBlock(bundle.dimension, 1),), bytes(32)),
        metrics=MetricSetting((), (-1.0, 0.0, 1.0), paired=True),
        baseline=ModelReference(0, ""),
    )


def test_an_evaluation_judges_two_models_on_offers_no_training_has_seen_and_claims_nothing(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel
) -> None:
    plan, worker = evaluation_plan(bundle), worker_of(bundle, log, ranker)
    learned = worker.train(make_plan(bundle), model, lambda: False)
    better = StoredModel(1, "1" * 64, (model.weights + learned.delta).astype(np.float32), 0.0)
    judging = worker.train(plan, better, lambda: False)
    assert judging.examples == 0
    for judged, worse in ((better, False), (model, None)):
        contribution = worker.contribute(plan, judged, judging, baseline=model)
        assert not contribution.claimed
        decoded = decode_sum(contribution.vector, plan.codec, 1)
        assert not decoded.update_sum.any()  # of the update, one zero travels
        sums = dict(zip(counter_names(plan.metrics), decoded.counters.tolist(), strict=True))
        assert sums["examples"] == sum(sums[f"offers_by_score/{b}"] for b in range(4)) // 8 == 29
        assert sums["loss_change/devices"] == 1
        change = sums["loss_change/sum"] - LOSS_LEVELS
        assert change < 0 if worse is False else change == 0
        assert sums["loss_change/squares"] == change * change
    log.usage_unreported("session")
    log.mark_reported("session")
    contribution = worker.contribute(plan, better, judging, baseline=model)
    assert not decode_sum(contribution.vector, plan.codec, 1).counters.any()


def test_analytics_count_usage_and_train_nothing(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel
) -> None:
    plan = msgspec.structs.replace(make_plan(bundle), kind=TaskKind.ANALYTICS)
    worker = worker_of(bundle, log, ranker)
    contribution = worker.contribute(plan, model, worker.train(plan, model, lambda: False))
    decoded = decode_sum(contribution.vector, plan.codec, 1)
    sums = dict(zip(counter_names(plan.metrics), decoded.counters.tolist(), strict=True))
    assert (sums["examples"], sums["treatment/0/lines"]) == (0, 40)
    assert not decoded.update_sum.any()


def test_in_a_private_task_analytics_put_usage_in_the_place_of_the_update_and_claim_it_once(
    bundle: Bundle, ranker: Ranker, log: ImpressionLog, model: StoredModel
) -> None:
    exact = make_plan(bundle)
    metrics = msgspec.structs.replace(exact.metrics, exact=False)
    names = estimated_names(metrics)
    codec = solve_codec(len(names), 100.0, 0.02, bytes(32), 1, 30, noise_sixteenths=8)
    plan = msgspec.structs.replace(exact, kind=TaskKind.ANALYTICS, metrics=metrics, codec=codec)
    worker = worker_of(bundle, log, ranker)
    for claimed, lines in ((True, 40), (False, 0)):
        contribution = worker.contribute(plan, model, worker.train(plan, model, lambda: False))
        assert contribution.claimed is claimed
        assert len(contribution.vector) == len(names)
        found = read_estimates(decode_sum(contribution.vector, codec, 1).update_sum, metrics, codec, 1)
        assert found["treatment/0/lines"].value == pytest.approx(lines, abs=0.5)
        log.mark_reported("session")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": TaskKind.EVALUATION},
        {"baseline": ModelReference(0, "")},
        {"metrics": MetricSetting((), (0.0,), paired=True)},
    ],
)
def test_a_plan_whose_fields_are_not_of_its_kind_is_refused(bundle: Bundle, changes: dict[str, object]) -> None:
    policy = DevicePolicy().demo(4)
    policy.check(make_plan(bundle), bundle.dimension)
    policy.check(evaluation_plan(bundle), bundle.dimension)
    with pytest.raises(PlanRefusedError, match="task"):
        policy.check(msgspec.structs.replace(make_plan(bundle), **changes), bundle.dimension)
