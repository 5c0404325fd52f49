"""A simulated person on the real session: key by key and a line at once come to the same; nothing depends on luck."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import pytest

from data_logging import ImpressionLog, Outcome
from keyboard_app.simulation.clock import SimulatedClock
from keyboard_app.simulation.evaluation import EvaluationSetting, ModelUnderTest, evaluate
from keyboard_app.simulation.people import shipped_replay
from keyboard_app.simulation.person import LineOutcome, SimulatedPerson, TypingMode
from keyboard_app.simulation.replay import ReplayLine
from keyboard_app.simulation.splits import load_people, outline
from keyboard_app.simulation.typist import Typist, TypistSetting
from keyboard_app.suggestions import Exploration, SuggestionEngine, TypingSession
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import shipped_catalog
from suggestion_model.types import CandidateSource


@pytest.fixture(scope="module")
def lines() -> Sequence[ReplayLine]:
    seen = outline(shipped_replay())
    user = seen.choose(1, seed=4)[0]
    return load_people(shipped_replay(), seen, [user])[user].training[:45]


@pytest.fixture(scope="module")
def catalog() -> CandidateSource:
    return shipped_catalog()


def type_all(
    lines: Sequence[ReplayLine],
    catalog: CandidateSource,
    log: ImpressionLog | None,
    clock: SimulatedClock,
    mode: TypingMode,
) -> list[LineOutcome]:
    engine = SuggestionEngine(
        Bundle.shipped(), catalog, log, clock, random.Random(1), exploration=Exploration(0.1, 0.05), timezone=UTC
    )
    session = TypingSession(engine, log, clock=clock)
    person = SimulatedPerson(session, Typist(TypistSetting(seed=5)), clock, mode)
    return [person.type_line(line) for line in lines]


def test_key_by_key_and_line_by_line_come_to_the_same(lines: Sequence[ReplayLine], catalog: CandidateSource) -> None:
    by_key = type_all(lines, catalog, None, SimulatedClock(), "keys")
    at_once = type_all(lines, catalog, None, SimulatedClock(), "line")
    assert [each.candidate for each in by_key] == [each.candidate for each in at_once]
    assert [(each.examined, each.tapped) for each in by_key] == [(each.examined, each.tapped) for each in at_once]
    assert any(each.examined for each in by_key)
    assert not all(each.examined for each in by_key)


def test_what_the_person_did_is_what_the_log_says(
    tmp_path: Path, lines: Sequence[ReplayLine], catalog: CandidateSource
) -> None:
    clock = SimulatedClock()
    log = ImpressionLog(tmp_path / "log.sqlite", clock=clock)
    outcomes = type_all(lines, catalog, log, clock, "line")
    rows = log.impressions()
    usage = log.usage_unreported()
    assert sum(row.lines for row in usage) == len(lines)
    assert sum(row.offers for row in usage) == sum(each.examined for each in outcomes)
    assert sum(row.outcome is Outcome.TAPPED for row in rows) == sum(each.tapped for each in outcomes)
    assert all(lines[0].time - 600 < row.impression.created_at <= lines[-1].time + 60 for row in rows)
    log.close()


def test_two_runs_are_identical(lines: Sequence[ReplayLine], catalog: CandidateSource) -> None:
    first = type_all(lines, catalog, None, SimulatedClock(), "line")
    assert first == type_all(lines, catalog, None, SimulatedClock(), "line")


def test_a_clock_never_runs_backwards() -> None:
    clock = SimulatedClock(10)
    clock.jump_to(5)
    assert clock() == 10
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_evaluation_compares_models_on_people_who_never_trained() -> None:
    seen = outline(shipped_replay())
    shipped = ModelUnderTest.shipped()
    spoilt = ModelUnderTest(1, -shipped.weights, shipped.threshold)  # the worst candidates first
    known = tuple(seen.choose(2, seed=0))
    setting = EvaluationSetting(shipped_replay(), None, TypistSetting(), known=known, most_new_people=3)
    result = evaluate(shipped, spoilt, setting, processes=1)
    people = load_people(shipped_replay(), seen, [*seen.held_out[:3], *known])
    assert result.overall.lines == sum(len(person.scoring) for person in people.values())
    assert result.overall.lift.people == 5
    assert result.new_people is not None
    assert result.known_people is not None
    assert result.new_people.lines + result.known_people.lines == result.overall.lines
    assert result.overall.first.ctr > result.overall.last.ctr
    assert result.published.threshold == shipped.threshold
    assert result.published.offers == int((result.scored[1].score > shipped.threshold).sum())
    same = evaluate(shipped, shipped, setting, processes=2)
    assert same.overall.lift.lift == 0
    assert same.overall.first == result.overall.first
