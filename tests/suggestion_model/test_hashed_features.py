"""The trigger's sparse features: the same index everywhere, the same row live and from the log, NumPy's sums."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_logging.records import Impression, LoggedImpression, Outcome
from suggestion_model.bundle import Bundle
from suggestion_model.errors import BundleError
from suggestion_model.features import DENSE_FEATURES, DENSE_NAMES, Featurizer, Habits, context_text
from suggestion_model.hashed_features import (
    BIAS_ID,
    HASHED_FEATURES,
    RESERVED,
    SCORE_ID,
    HashedFeatures,
    bucket,
)
from suggestion_model.head_trainer import HeadRows, HeadTrainer
from suggestion_model.sparse import SparseRows, gradient_sum, logits, loss_sum
from suggestion_model.types import Candidate, Context, Example

BUCKETS = 4096
HASHED = HashedFeatures(BUCKETS, DENSE_NAMES, tuple(f"piece{at}" for at in range(1, 100)))
WHEN = datetime(2026, 3, 4, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "buckets", "index"),
    [
        ("category=restaurants", 4096, 2444),
        ("hour=18", 4096, 486),
        ("line \u2581thai", 4096, 4004),
        ("score=8", 8192, 7254),
        ("", 4096, 2),
    ],
)
def test_an_index_never_changes(name: str, buckets: int, index: int) -> None:
    assert bucket(name, buckets) == index


@given(st.text(), st.integers(16, 1 << 20))
def test_hashed_indices_leave_bias_and_score_alone(name: str, buckets: int) -> None:
    assert RESERVED <= bucket(name, buckets) < buckets


def test_too_few_buckets_are_refused() -> None:
    with pytest.raises(BundleError, match="too few"):
        HashedFeatures(3, DENSE_NAMES, ())


def row_of(featurizer: Featurizer, context: Context, candidate: Candidate, habits: Habits, when: datetime) -> Example:
    """A moment as the trigger sees it."""
    inputs = featurizer.inputs(context, [candidate], habits, when)
    seen = featurizer.hashed(inputs.context_ids[0], candidate.category, candidate.entity_types, inputs.dense[0])
    return Example(inputs.context_ids[0], inputs.candidate_ids[0], inputs.dense[0], *seen, 0.0, 1.0)


dense_rows = st.lists(st.floats(-20, 20, width=32), min_size=DENSE_FEATURES, max_size=DENSE_FEATURES)
pieces = st.lists(st.integers(0, 99), max_size=32)


@settings(max_examples=60)
@given(pieces, pieces, st.text(max_size=20), st.lists(st.text(max_size=8), max_size=6), dense_rows)
def test_every_moment_has_a_row(
    line: list[int], earlier: list[int], category: str, types: list[str], dense: list[float]
) -> None:
    ids, values = HASHED.row(np.array(line, np.int32), np.array(earlier, np.int32), category, types, np.float32(dense))
    assert ids.shape == values.shape == (HASHED_FEATURES,)
    assert ids.dtype == np.int32
    assert values.dtype == np.float32
    assert ids[:RESERVED].tolist() == [BIAS_ID, SCORE_ID]
    assert values[0] == 1.0
    assert values[1] == np.float32(dense[0])
    assert (values[RESERVED:] >= 0).all()
    assert ids.max() < BUCKETS
    used = np.flatnonzero(values[RESERVED:]) + RESERVED
    assert (ids[used] >= RESERVED).all()


def test_a_log_entry_gives_the_row_of_its_moment(
    featurizer: Featurizer, candidates: list[Candidate], impression: Impression
) -> None:
    context = Context("any thai places?", ("hi there", "in oakland, maybe"))
    habits = Habits()
    habits.observe("restaurants", True, WHEN.timestamp() - 86_400)
    live = featurizer.inputs(context, candidates[:1], habits, WHEN)
    ids, values = featurizer.hashed(
        live.context_ids[0], candidates[0].category, candidates[0].entity_types, live.dense[0]
    )
    logged = replace(
        impression,
        context=context_text(context),
        candidate=candidates[0].query,
        category=candidates[0].category,
        entity_types=candidates[0].entity_types,
        features=tuple(live.dense[0].tolist()),
    )
    example = featurizer.example(LoggedImpression(1, logged, Outcome.TAPPED, WHEN.timestamp(), None))
    assert np.array_equal(example.hashed_ids, ids)
    assert np.array_equal(example.hashed_values, values)


@pytest.mark.parametrize(
    ("when", "name"),
    [
        (datetime(2026, 3, 4, 0, 0, tzinfo=UTC), "hour=0"),
        (datetime(2026, 3, 4, 7, 0, tzinfo=UTC), "hour=7"),
        (datetime(2026, 3, 4, 23, 59, tzinfo=UTC), "hour=23"),
        (datetime(2026, 3, 1, 12, 0, tzinfo=UTC), "weekday=6"),
        (datetime(2026, 3, 2, 12, 0, tzinfo=UTC), "weekday=0"),
    ],
)
def test_hour_and_weekday_are_read_back_from_the_dense_features(
    featurizer: Featurizer, candidates: list[Candidate], when: datetime, name: str
) -> None:
    assert bucket(name, BUCKETS) in row_of(featurizer, Context("thai food"), candidates[0], Habits(), when).hashed_ids


def test_each_type_of_entity_is_a_feature_of_norm_one_together() -> None:
    """A row without types, as the log held them before types were written down, is the same but for their places."""
    empty, dense = np.zeros(0, np.int32), np.zeros(DENSE_FEATURES, np.float32)
    rows = {n: HASHED.row(empty, empty, "trains", ("city", "airline", "city")[:n], dense) for n in (0, 3)}
    held = [dict(zip(ids.tolist(), values.tolist(), strict=True)) for ids, values in rows.values()]
    added = {bucket(f"entity type={name}", BUCKETS) for name in ("city", "airline")}
    assert {name for name, value in held[1].items() if value} - {
        name for name, value in held[0].items() if value
    } == added
    assert sum(held[1][name] ** 2 for name in added) == pytest.approx(1.0)
    assert all(held[1][name] == value for name, value in held[0].items() if value)


def test_what_a_person_tapped_changes_only_habit_features(featurizer: Featurizer, candidates: list[Candidate]) -> None:
    habits = Habits()
    for _ in range(3):
        habits.observe("restaurants", True, WHEN.timestamp())
    rows = [row_of(featurizer, Context("thai food"), candidates[0], h, WHEN).hashed_ids for h in (Habits(), habits)]
    assert (rows[0] != rows[1]).sum() == 3


@pytest.fixture(scope="module")
def trigger(shipped: Bundle) -> HeadTrainer:
    """The trigger's own model file."""
    return HeadTrainer.load(shipped.trigger)


def hashed_rows(examples: list[Example]) -> tuple[HeadRows, SparseRows]:
    rows = SparseRows.of(examples)
    return HeadRows({"hashed_ids": rows.ids, "hashed_values": rows.values}, rows.label, rows.weight), rows


def test_the_trigger_file_scores_and_steps_as_numpy_does(trigger: HeadTrainer, examples: list[Example]) -> None:
    head_rows, rows = hashed_rows(examples)
    start = np.random.default_rng(2).standard_normal(trigger.dimension).astype(np.float32) * 0.3
    assert trigger.logits(start, head_rows) == pytest.approx(logits(start.astype(np.float64), rows), abs=1e-4)
    order = np.arange(32, dtype=np.int32).reshape(2, 16)
    expected = start.astype(np.float64)
    for step in order:
        part = SparseRows(rows.ids[step], rows.values[step], rows.label[step], rows.weight[step])
        expected -= 0.5 * gradient_sum(expected, part) / part.weight.sum()
    assert trigger.train(start, head_rows, order, 0.5) == pytest.approx(expected, abs=1e-5)


def test_the_gradient_is_that_of_the_loss(examples: list[Example]) -> None:
    _, rows = hashed_rows(examples)
    weights = np.random.default_rng(4).standard_normal(BUCKETS) * 0.1
    found = gradient_sum(weights, rows)
    for at in (BIAS_ID, SCORE_ID, int(rows.ids[0, 9])):
        moved = np.zeros(BUCKETS)
        moved[at] = 1e-5
        slope = (loss_sum(weights + moved, rows) - loss_sum(weights - moved, rows)) / 2e-5
        assert found[at] == pytest.approx(slope, rel=1e-5)


def test_version_0_of_the_trigger_is_version_0_of_the_ranker(
    shipped: Bundle, trigger: HeadTrainer, featurizer: Featurizer, candidates: list[Candidate]
) -> None:
    head_rows, _ = hashed_rows(
        [row_of(featurizer, Context("any thai places?"), candidate, Habits(), WHEN) for candidate in candidates]
    )
    line = shipped.card.baseline_logit
    expected = [line.slope * candidate.score + line.intercept for candidate in candidates]
    assert trigger.logits(np.array(shipped.trigger_weights0), head_rows) == pytest.approx(expected, abs=1e-4)
