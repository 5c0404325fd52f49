"""What the log says of a line: what was offered or withheld, how probable that was, and what came of it."""

from __future__ import annotations

import random

import pytest

from data_logging import Outcome, UsageCount
from keyboard_app.suggestions import Branch, Exploration, SuggestionEngine, TypingSession
from suggestion_model.bundle import Bundle
from suggestion_model.runtime import Ranker
from suggestion_model.types import CandidateSource
from tests.clocks import SettableClock
from tests.keyboard_app.suggestions.desk import (
    ALWAYS,
    NEVER,
    NOTHING,
    OFFER,
    START,
    THAI,
    THRESHOLD,
    WITHHOLD,
    FixedDraws,
    Seat,
)


def test_one_impression_a_line_as_it_stood_when_sent(seat: Seat) -> None:
    desk = seat()
    desk.line(THAI)
    (row,) = desk.log.impressions()
    shown = row.impression
    assert row.outcome is Outcome.IGNORED
    assert (shown.candidate, shown.category) == ("thai restaurants in oakland", "restaurants")
    assert (shown.shown, shown.explored, shown.propensity) == (True, False, pytest.approx(0.95))
    assert (shown.model_version, shown.arm, shown.slot) == (1, "treatment", 0)
    assert (shown.conversation, shown.context) == ("c1", THAI)
    assert shown.created_at == desk.clock.now
    assert desk.session.last_line is not None
    assert desk.session.last_line.impression == shown
    assert desk.session.last_line.row == row.id


def test_a_line_without_candidate_is_only_counted(seat: Seat) -> None:
    desk = seat()
    desk.line(NOTHING)
    assert desk.log.impressions() == []
    assert desk.log.usage_unreported() == [UsageCount("treatment", 1, 1, 0, 0)]


@pytest.mark.parametrize(("visible_s", "shown"), [(0.29, False), (0.30, True), (5.0, True)])
def test_a_query_counts_as_shown_after_300_ms(seat: Seat, visible_s: float, shown: bool) -> None:
    desk = seat()
    desk.session.type(THAI)
    assert desk.session.strip.query is not None
    desk.clock.now += visible_s
    assert desk.session.query_visible_s == pytest.approx(visible_s)
    desk.session.send()
    (row,) = desk.log.impressions()
    assert row.impression.shown is shown
    assert row.outcome is (Outcome.IGNORED if shown else Outcome.WITHHELD)
    assert row.impression.propensity == pytest.approx(0.95 if shown else 1.0)


def test_a_candidate_below_the_threshold_is_logged_as_withheld(seat: Seat) -> None:
    desk = seat()
    desk.threshold(NEVER)
    desk.line(THAI)
    (row,) = desk.log.impressions()
    assert row.outcome is Outcome.WITHHELD
    assert not row.impression.shown
    assert row.impression.propensity == pytest.approx(0.90)
    assert row.impression.features


@pytest.mark.parametrize(
    ("draw", "threshold", "shown", "propensity"),
    [
        (THRESHOLD, ALWAYS, True, 0.95),
        (THRESHOLD, NEVER, False, 0.90),
        (OFFER, ALWAYS, True, 0.95),
        (OFFER, NEVER, True, 0.10),
        (WITHHOLD, ALWAYS, False, 0.05),
        (WITHHOLD, NEVER, False, 0.90),
    ],
)
def test_propensities_of_all_branches(
    seat: Seat, draw: float, threshold: float, shown: bool, propensity: float
) -> None:
    desk = seat(draw)
    desk.threshold(threshold)
    desk.line(THAI)
    (row,) = desk.log.impressions()
    assert (row.impression.shown, row.impression.explored) == (shown, draw is not THRESHOLD)
    assert row.impression.propensity == pytest.approx(propensity)


def test_a_propensity_holds_what_it_says(bundle: Bundle, ranker: Ranker, catalog: CandidateSource) -> None:
    clock = SettableClock(START)
    engine = SuggestionEngine(bundle, catalog, None, clock, random.Random(7), ranker=ranker)
    for threshold, shown_share in ((ALWAYS, 0.95), (NEVER, 0.10)):
        engine.use_model(1, bundle.weights0, threshold)
        session = TypingSession(engine, None, None, clock)
        weights = {True: 0.0, False: 0.0}
        for number in range(500):
            session.open_conversation(str(number))
            session.enter_line(THAI)
            clock.now += 1
            session.send()
            assert session.last_line is not None
            assert session.last_line.impression is not None
            impression = session.last_line.impression
            weights[impression.shown] += 1 / impression.propensity
            assert impression.propensity == pytest.approx(shown_share if impression.shown else 1 - shown_share)
        # Inverse propensity weights estimate the number of lines, from either side.
        assert weights[True] == pytest.approx(500, rel=0.4)
        assert weights[False] == pytest.approx(500, rel=0.4)


def test_chance_is_drawn_once_a_line(seat: Seat) -> None:
    desk = seat(OFFER, WITHHOLD, THRESHOLD)
    desk.threshold(NEVER)
    shown = []
    for _ in range(3):
        desk.line(THAI)
        assert desk.session.last_line is not None
        assert desk.session.last_line.impression is not None
        shown.append(desk.session.last_line.impression.shown)
    assert shown == [True, False, False]
    assert desk.draws.taken == 3


def test_exploration_shares_are_checked() -> None:
    assert Exploration(0.0, 0.0).draw(FixedDraws(0.0)) is Branch.THRESHOLD
    with pytest.raises(ValueError, match="less than 1"):
        Exploration(0.6, 0.4)
    with pytest.raises(ValueError, match="negative"):
        Exploration(-0.1, 0.2)
