"""Features are computed in one place, the same for the next key press and for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from data_logging.records import LoggedImpression, Outcome
from suggestion_model.bundle import Bundle
from suggestion_model.earlier_matches import MATCH_HISTORY
from suggestion_model.errors import BundleError
from suggestion_model.features import (
    BASELINE_INDEX,
    CONTEXT_TOKENS,
    DENSE_FEATURES,
    DENSE_NAMES,
    LINE_TOKENS,
    MAX_EXAMPLE_WEIGHT,
    Featurizer,
    Habits,
    context_of,
    context_text,
    to_a_stranger,
)
from suggestion_model.types import Candidate, Context, Example, Match

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
CONTEXT = Context("looking for a thai restaurant in oakland", ("what do you feel like?",))
DAY = 86400.0


def test_inputs_have_one_row_a_candidate(featurizer: Featurizer, candidates: list[Candidate]) -> None:
    inputs = featurizer.inputs(CONTEXT, candidates, Habits(), NOON)
    assert inputs.context_ids.shape == (3, CONTEXT_TOKENS)
    assert inputs.dense.shape == (3, DENSE_FEATURES)
    assert (inputs.context_ids.dtype, inputs.dense.dtype) == (np.int32, np.float32)
    assert inputs.dense[:, BASELINE_INDEX] == pytest.approx([0.8, 0.5, 0.3])
    assert len(set(DENSE_NAMES)) == DENSE_FEATURES


def test_no_candidates_make_empty_inputs(featurizer: Featurizer) -> None:
    assert featurizer.inputs(CONTEXT, [], Habits(), NOON).dense.shape == (0, DENSE_FEATURES)


def test_a_logged_offer_becomes_the_very_inputs_it_was_ranked_with(
    featurizer: Featurizer, candidates: list[Candidate], logged: Callable[..., LoggedImpression]
) -> None:
    inputs = featurizer.inputs(CONTEXT, candidates, Habits(), NOON)
    example = featurizer.example(
        logged(
            context=context_text(CONTEXT),
            candidate=candidates[0].query,
            features=tuple(float(f) for f in inputs.dense[0]),
        )
    )
    assert np.array_equal(example.context_ids, inputs.context_ids[0])
    assert np.array_equal(example.candidate_ids, inputs.candidate_ids[0])
    assert np.array_equal(example.dense, to_a_stranger(inputs.dense[0]))
    assert example.label == 1.0


def test_what_the_conversation_came_to_before_is_logged_and_trained_on_as_it_was_served(
    featurizer: Featurizer, candidates: list[Candidate], logged: Callable[..., LoggedImpression]
) -> None:
    best = candidates[0]
    for matches in ((), (Match(best.query, best.category, True),), (Match("pizza", best.category, False),) * 3):
        context = replace(CONTEXT, matches=matches)
        served = featurizer.inputs(context, [best], Habits(), NOON)
        entry = logged(
            context=context_text(context), candidate=best.query, features=tuple(served.dense[0].tolist())
        )  # no row of the log but this one is needed
        assert np.array_equal(featurizer.example(entry).dense, to_a_stranger(served.dense[0]))
        assert bool(served.dense[0, -len(MATCH_HISTORY) :].any()) == bool(matches)


def test_a_row_from_before_earlier_matches_were_logged_is_trained_on_as_one_without_any(
    featurizer: Featurizer, candidates: list[Candidate], logged: Callable[..., LoggedImpression]
) -> None:
    served = featurizer.inputs(CONTEXT, candidates[:1], Habits(), NOON).dense[0].tolist()
    old = logged(context=context_text(CONTEXT), features=tuple(served[: -len(MATCH_HISTORY)]))
    new = logged(context=context_text(CONTEXT), features=tuple(served))
    (from_old, from_new) = featurizer.examples([old, new])
    assert np.array_equal(from_old.dense, from_new.dense)
    assert np.array_equal(from_old.hashed_ids, from_new.hashed_ids)


def test_the_ranker_is_told_nothing_of_its_owner_and_the_trigger_is(
    featurizer: Featurizer, candidates: list[Candidate], logged: Callable[..., LoggedImpression]
) -> None:
    fond = Habits()
    for _ in range(5):
        fond.observe(candidates[0].category, True, NOON.timestamp())

    def example(habits: Habits) -> Example:
        features = featurizer.inputs(CONTEXT, candidates, habits, NOON).dense[0]
        return featurizer.example(
            logged(context=context_text(CONTEXT), candidate=candidates[0].query, features=tuple(features.tolist()))
        )

    mine, somebodys = example(fond), example(Habits())
    assert np.array_equal(mine.dense, somebodys.dense)
    assert not np.array_equal(mine.hashed_ids, somebodys.hashed_ids)


def test_context_text_round_trips_and_keeps_one_line_a_row() -> None:
    assert context_of(context_text(CONTEXT)) == CONTEXT
    broken = Context("two\nrows  of text", ("a\r\nb",))
    assert context_of(context_text(broken)) == Context("two rows of text", ("a b",))
    assert context_of(context_text(Context(""))) == Context("")


def test_only_resolved_offers_are_examples(featurizer: Featurizer, logged: Callable[..., LoggedImpression]) -> None:
    entries = [
        logged(Outcome.TAPPED),
        logged(Outcome.IGNORED),
        logged(Outcome.DISMISSED),
        logged(Outcome.PENDING),
        logged(Outcome.WITHHELD, shown=False),
        logged(Outcome.TAPPED, features=(1.0, 2.0)),
    ]
    assert [e.label for e in featurizer.examples(entries)] == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="resolved"):
        featurizer.example(entries[4])
    with pytest.raises(ValueError, match="dense features"):
        featurizer.example(entries[5])


def test_rarely_shown_offers_weigh_more_up_to_a_limit(
    featurizer: Featurizer, logged: Callable[..., LoggedImpression]
) -> None:
    assert featurizer.example(logged(propensity=0.5)).weight == 2.0
    assert featurizer.example(logged(propensity=0.01)).weight == MAX_EXAMPLE_WEIGHT


def test_the_newest_pieces_of_a_long_line_survive(featurizer: Featurizer) -> None:
    candidate = Candidate("q", "c", 1.0)
    long = featurizer.inputs(Context("blah " * 100 + "thai restaurant"), [candidate], Habits(), NOON)
    short = featurizer.tokenizer.ids("thai restaurant")
    assert long.context_ids[0, LINE_TOKENS - len(short) : LINE_TOKENS].tolist() == short


def test_case_and_width_of_letters_do_not_matter(featurizer: Featurizer) -> None:
    assert featurizer.tokenizer.ids("THAI Restaurant") == featurizer.tokenizer.ids("thai restaurant")
    assert featurizer.tokenizer.ids("ｔｈａｉ") == featurizer.tokenizer.ids("thai")


def test_habits_start_neutral_grow_with_taps_and_fade() -> None:
    habits = Habits(half_life_days=7.0)
    assert habits.tap_habit("food", 0.0) == 0.0
    for _ in range(5):
        habits.observe("food", True, 0.0)
        habits.observe("sports", False, 0.0)
    assert habits.tap_habit("food", 0.0) > 0 > habits.tap_habit("sports", 0.0)
    assert habits.counts("food", 7 * DAY) == pytest.approx((2.5, 2.5))
    assert habits.counts("", 0.0) == (5.0, 10.0)
    assert 0 < habits.tap_habit("food", 70 * DAY) < habits.tap_habit("food", 0.0)


def test_habits_rebuild_from_the_log(logged: Callable[..., LoggedImpression]) -> None:
    entries = [
        logged(Outcome.TAPPED, created_at=0.0),
        logged(Outcome.IGNORED, created_at=DAY),
        logged(Outcome.WITHHELD, shown=False, created_at=2 * DAY),
    ]
    direct = Habits()
    direct.observe("restaurants", True, 0.0)
    direct.observe("restaurants", False, DAY)
    assert Habits.from_log(entries) == direct


def test_habits_and_hour_reach_the_dense_features(featurizer: Featurizer, candidates: list[Candidate]) -> None:
    def dense(habits: Habits, when: datetime) -> dict[str, float]:
        row = featurizer.inputs(CONTEXT, candidates[:1], habits, when).dense[0]
        return dict(zip(DENSE_NAMES, row.tolist(), strict=True))

    fond = Habits()
    fond.observe("restaurants", True, NOON.timestamp())
    assert dense(fond, NOON)["category_tap_habit"] > dense(Habits(), NOON)["category_tap_habit"]
    assert dense(Habits(), NOON)["hour_cos"] == pytest.approx(-1.0)
    assert dense(Habits(), NOON + timedelta(hours=12))["hour_cos"] == pytest.approx(1.0)


def test_a_bundle_for_other_features_is_refused(shipped: Bundle) -> None:
    other = msgspec.structs.replace(shipped.architecture, dense_names=("score",))
    card = msgspec.structs.replace(shipped.card, architecture=other)
    with pytest.raises(BundleError, match="other features"):
        Featurizer(replace(shipped, card=card))
