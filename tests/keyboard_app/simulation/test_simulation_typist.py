"""The simulated typist: relevance, taste, taps, and that no draw depends on what was offered."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyboard_app.simulation.relevance import named, relevance
from keyboard_app.simulation.replay import ReplayLine
from keyboard_app.simulation.typist import Typist, TypistError, TypistSetting, load_typist_setting


def line(
    number: int = 1,
    user: str = "ada",
    wanted: tuple[str, ...] = ("hotels in paris",),
    soon: tuple[str, ...] = (),
) -> ReplayLine:
    return ReplayLine(
        user=user,
        conversation="c",
        timestamp=datetime(2026, 3, 2, tzinfo=UTC),
        text="a room please",
        kind="task",
        wanted=wanted,
        soon=soon,
        topic="hotels",
        number=number,
    )


@pytest.mark.parametrize(
    ("offered", "wanted", "expected"),
    [
        ("hotels in paris", "hotels in paris", 1.0),
        ("Hotels in PARIS", "hotels in paris", 1.0),
        ("3 star hotels in paris", "hotels in paris", 2 / 3),
        ("thai restaurants in oakland", "italian restaurants in oakland", 2 / 3),
        ("car rental oakland", "compact car rental oakland", 6 / 7),
        ("hotels in washington d.c", "hotels in washington dc", 1.0),
        ("weather in oakland", "punk songs", 0.0),
    ],
)
def test_relevance_is_the_f1_of_content_words(offered: str, wanted: str, expected: float) -> None:
    assert relevance(offered, wanted) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        ("hotels in paris", "hotels in london"),
        ("flights from oakland to paris", "flights from paris to oakland"),
        ("flights from oakland to paris", "flights from oakland to rome"),
        ("the river showtimes oakland", "the mountain showtimes oakland"),
        ("songs by ana lune from blue", "songs by ana lune from red"),
        ("drama movies starring ana lune", "drama movies starring bo reed"),
        ("weather berlin", "weather rome"),
        ("the kites dates", "the tides dates"),
    ],
)
def test_queries_that_name_different_things_are_of_no_use(offered: str, wanted: str) -> None:
    assert relevance(offered, wanted) == 0.0


def test_names_are_read_from_the_wording() -> None:
    assert named("round trip flights from san francisco to new york") == {
        "origin": ("san", "francisco"),
        "destination": ("new", "york"),
    }
    assert named("how to see a comet showtimes oakland") == {
        "title": ("how", "to", "see", "a", "comet"),
        "place": ("oakland",),
    }
    assert named("free things to do in oakland with kids") == {"place": ("oakland",)}


@given(st.text(max_size=60), st.text(max_size=60))
def test_relevance_is_symmetric_bounded_and_whole_for_the_query_itself(one: str, other: str) -> None:
    assert 0 <= relevance(one, other) == relevance(other, one) <= 1
    assert relevance(one, one) in (0.0, 1.0)


def test_the_tap_probability_is_the_stated_formula() -> None:
    typist = Typist(TypistSetting(seed=3))
    taste = typist.taste("ada", "hotels")
    assert typist.tap_probability("hotels in paris", line()) == pytest.approx(0.7 * taste + 0.002)
    partly = 0.7 * (2 / 3 - 0.3) / 0.7 * taste + 0.002
    assert typist.tap_probability("3 star hotels in paris", line()) == pytest.approx(partly)
    assert typist.tap_probability("hotels in london", line()) == 0.002
    assert typist.tap_probability("hotels in paris", line(wanted=())) == 0.002
    soon = line(wanted=(), soon=("hotels in paris",))
    assert typist.tap_probability("hotels in paris", soon) == typist.tap_probability("hotels in paris", line())


@pytest.mark.parametrize(("strength", "mean", "variance"), [("mild", 2 / 3, 1 / 18), ("strong", 0.5, 1 / 8)])
def test_tastes_follow_their_beta_prior(strength: str, mean: float, variance: float) -> None:
    typist = Typist(TypistSetting(taste=strength))  # type: ignore[arg-type]
    tastes = np.array([typist.taste(f"person {i}", "hotels") for i in range(4_000)])
    assert tastes.mean() == pytest.approx(mean, abs=0.02)
    assert tastes.var() == pytest.approx(variance, abs=0.01)


def test_drawn_taps_agree_with_their_probabilities() -> None:
    typist = Typist()
    lines = [line(number, user=f"person {number % 50}") for number in range(4_000)]
    drawn = sum(typist.taps("hotels in paris", each) for each in lines)
    expected = sum(typist.tap_probability("hotels in paris", each) for each in lines)
    assert abs(drawn - expected) < 4 * np.sqrt(expected)


@given(st.integers(1, 10_000))
def test_whoever_taps_a_worse_query_would_have_tapped_a_better_one(number: int) -> None:
    """Common random numbers: the draw belongs to (person, line), so it is monotone in what is offered."""
    typist = Typist()
    if typist.taps("3 star hotels in paris", line(number)):
        assert typist.taps("hotels in paris", line(number))


def test_a_seed_fixes_everything_and_another_seed_changes_it() -> None:
    lines = [line(number) for number in range(300)]

    def run(seed: int) -> list[bool]:
        return [Typist(TypistSetting(seed=seed)).taps("hotels in paris", each) for each in lines]

    assert run(1) == run(1) != run(2)


def test_a_query_is_examined_only_after_the_dwell_and_by_its_slot() -> None:
    typist = Typist()
    assert typist.examines(line(), 0.3)
    assert not typist.examines(line(), 0.29)
    assert typist.examination_probability(1.0, slot=1) == 0.6
    assert typist.examination_probability(1.0, slot=2) == 0.0


def test_keys_come_at_believable_times() -> None:
    typist = Typist()
    gaps = [typist.key_interval_s(line(user=f"person {i}"), key) for i in range(20) for key in range(50)]
    assert 0.15 < float(np.median(gaps)) < 0.25
    assert 0.03 < min(gaps) < max(gaps) < 2
    pauses = [typist.send_pause_s(line(number)) for number in range(500)]
    assert 0.5 < float(np.median(pauses)) < 0.9


def test_a_file_overrides_any_constant(tmp_path: Path) -> None:
    path = tmp_path / "typist.json"
    path.write_text(json.dumps({"tap_ceiling": 0.5, "taste": "strong", "slip": 0.0}))
    setting = load_typist_setting(path, seed=9)
    assert (setting.tap_ceiling, setting.slip, setting.seed, setting.prior()) == (0.5, 0.0, 9, (0.5, 0.5))
    assert setting.relevance_floor == 0.3


@pytest.mark.parametrize("text", ['{"tap_celling": 1}', '{"slip": 2}', '{"taste_alpha": 0}', "[", '{"taste": "wild"}'])
def test_a_typist_file_that_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "typist.json"
    path.write_text(text)
    with pytest.raises(TypistError):
        load_typist_setting(path)
    with pytest.raises(TypistError, match="cannot be read"):
        load_typist_setting(tmp_path / "absent.json")
