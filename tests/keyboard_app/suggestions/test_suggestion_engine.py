"""The engine: hot swap, arms, sensitive categories, habits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest

from data_logging import Impression, ImpressionLog, Outcome
from keyboard_app.suggestions import Branch, Exploration, SuggestionEngine, TypingSession
from suggestion_model.bundle import Bundle
from suggestion_model.errors import RankerInputError
from suggestion_model.features import DENSE_NAMES
from suggestion_model.types import Candidate, Context

NOW = 1_772_409_600.0
ALWAYS = -1e9
HUNGRY = Context("any thai restaurants in oakland")


@dataclass
class Shelf:
    """A source with fixed candidates for every context."""

    found: list[Candidate]
    asked: int = 0

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        self.asked += 1
        return self.found[:limit]


class Never:
    """Draws that never explore."""

    def random(self) -> float:
        return 0.99


@pytest.fixture
def shelf() -> Shelf:
    from suggestion_model.catalog import MATCH_FEATURES

    evidence = tuple([0.5] * len(MATCH_FEATURES))
    return Shelf(
        [
            Candidate("thai restaurants in oakland", "restaurants", 0.9, features=evidence),
            Candidate("flights to oakland", "flights", 0.4, features=evidence),
        ]
    )


@pytest.fixture
def log(tmp_path: Path) -> ImpressionLog:
    return ImpressionLog(tmp_path / "log.sqlite", lambda: NOW)


Make = Callable[..., SuggestionEngine]


@pytest.fixture
def make(bundle: Bundle, shelf: Shelf, log: ImpressionLog) -> Make:
    def make(**options: object) -> SuggestionEngine:
        return SuggestionEngine(bundle, shelf, log, lambda: NOW, Never(), timezone=UTC, **options)  # type: ignore[arg-type]

    return make


def test_version_0_ranks_with_the_bundles_weights_and_threshold(make: Make, bundle: Bundle) -> None:
    engine = make()
    decision = engine.suggest(HUNGRY)
    assert decision is not None
    assert (engine.model.version, engine.model.threshold) == (0, bundle.threshold0)
    assert decision.candidate.query == "thai restaurants in oakland"
    assert decision.passes == (decision.score > bundle.threshold0)
    assert len(decision.features) == len(DENSE_NAMES)
    logit = bundle.card.baseline_logit
    assert decision.score == pytest.approx(logit.slope * 0.9 + logit.intercept, abs=1e-3)


def test_no_candidate_no_decision(make: Make, shelf: Shelf) -> None:
    shelf.found = []
    assert make().suggest(HUNGRY) is None


def test_a_new_version_ranks_the_very_next_key_press(make: Make, bundle: Bundle, shelf: Shelf) -> None:
    engine = make()
    session = TypingSession(engine, None, None, lambda: NOW)
    engine.use_model(1, bundle.weights0, 1e9)
    session.type("a")
    assert session.strip.query is None
    engine.use_model(2, bundle.weights0, ALWAYS)
    assert session.strip.query is None
    session.type("b")
    assert session.strip.query == "thai restaurants in oakland"
    assert session.decision is not None
    assert session.decision.model.version == 2


def test_new_weights_change_the_scores(make: Make, bundle: Bundle) -> None:
    engine = make()
    before = engine.suggest(HUNGRY)
    engine.use_model(1, bundle.weights0 + np.float32(0.05), 0.0)
    after = engine.suggest(HUNGRY)
    assert before is not None
    assert after is not None
    assert before.score != after.score


def test_weights_that_do_not_fit_leave_the_model_as_it_was(make: Make, bundle: Bundle) -> None:
    engine = make()
    before = engine.suggest(HUNGRY)
    for wrong in (bundle.weights0[:-1], np.full_like(bundle.weights0, np.nan)):
        with pytest.raises(RankerInputError):
            engine.use_model(9, wrong, ALWAYS)
    assert engine.model.version == 0
    assert engine.suggest(HUNGRY) == before


def test_a_decision_never_mixes_two_models(make: Make, bundle: Bundle) -> None:
    engine = make()
    by_version = {}
    for version, shift in ((1, 0.0), (2, 0.1)):
        engine.use_model(version, bundle.weights0 + np.float32(shift), float(version))
        decision = engine.suggest(HUNGRY)
        assert decision is not None
        by_version[version] = decision.score
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for version, shift in ((1, 0.0), (2, 0.1)):
                engine.use_model(version, bundle.weights0 + np.float32(shift), float(version))

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(300):
            decision = engine.suggest(HUNGRY)
            assert decision is not None
            assert decision.score == by_version[decision.model.version]
            assert decision.model.threshold == decision.model.version
    finally:
        stop.set()
        swapping.join()


def test_the_arm_stays_until_another_is_named(make: Make, bundle: Bundle) -> None:
    engine = make(arm="holdback")
    engine.use_model(3, bundle.weights0, ALWAYS)
    assert (engine.model.version, engine.model.arm) == (3, "holdback")
    engine.use_model(5, bundle.weights0, ALWAYS, arm="treatment")
    assert (engine.model.version, engine.model.arm) == (5, "treatment")


def test_queries_that_stay_away_make_room_for_the_next(make: Make) -> None:
    decision = make().suggest(HUNGRY, away={"thai restaurants in oakland"})
    assert decision is not None
    assert decision.candidate.query == "flights to oakland"


# -- sensitive categories ------------------------------------------------------------------------------------------


def _sensitive(shelf: Shelf) -> None:
    shelf.found = [replace(shelf.found[0], query="clinics in oakland", category="health", sensitive=True)]


def test_sensitive_categories_are_off_by_default(make: Make, shelf: Shelf) -> None:
    _sensitive(shelf)
    assert make().suggest(HUNGRY) is None


def test_a_person_can_switch_one_on(make: Make, shelf: Shelf) -> None:
    _sensitive(shelf)
    assert make(sensitive_allowed={"finance"}).suggest(HUNGRY) is None
    decision = make(sensitive_allowed={"health"}).suggest(HUNGRY)
    assert decision is not None
    assert decision.candidate.category == "health"


@pytest.mark.parametrize("draw", [Branch.OFFER, Branch.WITHHOLD, Branch.THRESHOLD])
@pytest.mark.parametrize(("threshold", "offered"), [(ALWAYS, True), (1e9, False)])
def test_sensitive_queries_are_never_explored(
    make: Make, shelf: Shelf, bundle: Bundle, log: ImpressionLog, draw: Branch, threshold: float, offered: bool
) -> None:
    _sensitive(shelf)
    share = {Branch.OFFER: Exploration(0.999, 0.0), Branch.WITHHOLD: Exploration(0.0, 0.999)}
    engine = make(sensitive_allowed={"health"}, exploration=share.get(draw, Exploration(0.0, 0.0)))
    engine.use_model(1, bundle.weights0, threshold)
    now = [NOW]
    session = TypingSession(engine, log, None, lambda: now[0])
    session.enter_line("any clinics in oakland")
    assert (session.strip.query is not None) is offered
    now[0] += 1
    session.send()
    (row,) = log.impressions()
    assert (row.impression.shown, row.impression.explored, row.impression.propensity) == (offered, False, 1.0)


# -- habits --------------------------------------------------------------------------------------------------------


def _impression(category: str) -> Impression:
    return Impression(NOW, "c", "x", "q", category, 1.0, (), 0.0, 0, True, False, 1.0, 0, "treatment")


def _habit(engine: SuggestionEngine) -> float:
    decision = engine.suggest(HUNGRY)
    assert decision is not None
    return decision.features[DENSE_NAMES.index("category_tap_habit")]


def test_habits_come_from_the_log_and_follow_it(make: Make, log: ImpressionLog) -> None:
    stranger = _habit(make())
    log.finish_line("treatment", 0, _impression("restaurants"), Outcome.TAPPED)
    engine = make()
    regular = _habit(engine)
    assert regular > stranger
    log.finish_line("treatment", 0, _impression("restaurants"), Outcome.TAPPED)
    engine.learn(_impression("restaurants"), Outcome.TAPPED)
    assert _habit(engine) > regular
    assert _habit(engine) == _habit(make())


def test_what_was_erased_is_no_habit_any_more(make: Make, log: ImpressionLog) -> None:
    stranger = _habit(make())
    log.finish_line("treatment", 0, _impression("restaurants"), Outcome.TAPPED)
    engine = make()
    log.erase()
    engine.forget()
    assert _habit(engine) == stranger


def test_an_erased_log_is_noticed_at_the_next_key_press(make: Make, log: ImpressionLog) -> None:
    stranger = _habit(make())
    log.finish_line("treatment", 0, _impression("restaurants"), Outcome.TAPPED)
    engine = make()
    assert _habit(engine) > stranger
    log.erase()
    assert _habit(engine) == stranger


def test_erasing_from_another_process_is_noticed_with_the_next_line(make: Make, log: ImpressionLog) -> None:
    stranger = _habit(make())
    log.finish_line("treatment", 0, _impression("restaurants"), Outcome.TAPPED)
    engine = make()
    other = ImpressionLog(log.path, lambda: NOW)  # as `keyboard-app log erase` opens it
    other.erase()
    other.close()
    log.count_line("treatment", 0)
    assert _habit(engine) == stranger


def test_a_taste_moves_the_score_of_its_category_and_the_holdback_has_none(make: Make, bundle: Bundle) -> None:
    engine = make()
    even = bundle.weights0.copy()
    even[:] = 0.0

    def score(tastes: dict[str, float], arm: str = "treatment") -> float:
        engine.use_model(1, even, ALWAYS, arm, tastes)
        found = engine.suggest(HUNGRY)
        assert found is not None
        return found.score

    assert score({}) == pytest.approx(0.0)
    assert score({"restaurants": 1.5}) == pytest.approx(np.log(0.75 / 0.25), abs=1e-5)
    assert score({"restaurants": 0.5}) == pytest.approx(np.log(0.25 / 0.75), abs=1e-5)
    assert score({"flights": 0.1}) == pytest.approx(0.0)
    assert score({"restaurants": 0.5}, "holdback") == score({}, "holdback")
