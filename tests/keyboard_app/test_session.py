"""The typing session on a real bundle, a real query list and a real log file."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_logging import ImpressionLog, Outcome, UsageCount
from keyboard_app.suggestions import (
    Branch,
    Exploration,
    FieldKind,
    Strip,
    SuggestionEngine,
    Trouble,
    TypingSession,
)
from keyboard_app.suggestions.conversation import EARLIER_LINES
from keyboard_app.text import WordSuggester
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog
from suggestion_model.features import context_of
from suggestion_model.runtime import Ranker
from suggestion_model.types import Candidate, CandidateSource, Context

QUERIES = """query,category
thai restaurants in oakland,restaurants
italian restaurants in oakland,restaurants
flights from boston to chicago,flights
flights from chicago to boston,flights
weather in paris,weather
"""
ALWAYS, NEVER = -1e9, 1e9
THAI = "any thai restaurants in oakland"
NOTHING = "see you later"


class SettableClock:
    def __init__(self) -> None:
        self.now = 1_772_409_600.0

    def __call__(self) -> float:
        return self.now


class FixedDraws:
    """A source of the draws a test wants, the last one for ever."""

    def __init__(self, *draws: float) -> None:
        self.draws = list(draws)
        self.taken = 0

    def random(self) -> float:
        self.taken += 1
        return self.draws.pop(0) if len(self.draws) > 1 else self.draws[0]


OFFER, WITHHOLD, THRESHOLD = 0.05, 0.12, 0.9
"""Draws that lead to each branch with the usual shares."""


@dataclass
class Desk:
    """A session and what stands around it."""

    session: TypingSession
    engine: SuggestionEngine
    log: ImpressionLog
    clock: SettableClock
    draws: FixedDraws
    folder: Path

    def keys(self, text: str, interval: float = 0.2) -> None:
        for character in text:
            self.clock.now += interval
            self.session.type(character)

    def line(self, text: str, pause: float = 1.0) -> None:
        self.keys(text)
        self.clock.now += pause
        self.session.send()

    def threshold(self, threshold: float, version: int = 1) -> None:
        self.engine.use_model(version, self.bundle.weights0, threshold)

    @property
    def bundle(self) -> Bundle:
        return self.engine._bundle

    def on_disk(self) -> bytes:
        return b"".join(file.read_bytes() for file in self.folder.iterdir())


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.shipped()


@pytest.fixture(scope="module")
def ranker(bundle: Bundle) -> Ranker:
    return Ranker(bundle)


@pytest.fixture(scope="module")
def words() -> WordSuggester:
    return WordSuggester.shipped()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> CandidateSource:
    path = tmp_path_factory.mktemp("catalog") / "queries.csv"
    path.write_text(QUERIES)
    return load_catalog(path)


Seat = Callable[..., Desk]


@pytest.fixture(scope="module")
def seat(
    bundle: Bundle,
    ranker: Ranker,
    words: WordSuggester,
    catalog: CandidateSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Seat]:
    """Make a desk; the threshold is such that every candidate passes unless a test says otherwise."""
    logs: list[ImpressionLog] = []

    def make(
        *draws: float, source: CandidateSource | None = None, kind: FieldKind = FieldKind.TEXT, **engine: object
    ) -> Desk:
        clock, folder = SettableClock(), tmp_path_factory.mktemp("desk")
        log = ImpressionLog(folder / "log.sqlite", clock)
        logs.append(log)
        chance = FixedDraws(*draws or (THRESHOLD,))
        made = SuggestionEngine(bundle, source or catalog, log, clock, chance, ranker=ranker, **engine)  # type: ignore[arg-type]
        session = TypingSession(made, log, words, clock, kind, search_address="https://search.example/?q={query}")
        session.open_conversation("c1")
        desk = Desk(session, made, log, clock, chance, folder)
        desk.threshold(ALWAYS)
        return desk

    yield make
    for log in logs:
        log.close()


# -- the strip -----------------------------------------------------------------------------------------------------


def test_every_key_press_brings_a_new_strip(seat: Seat) -> None:
    desk = seat()
    seen = desk.session.strip.sequence
    for character in THAI:
        desk.session.type(character)
        assert desk.session.strip.sequence > seen
        seen = desk.session.strip.sequence
    assert desk.session.strip.query == "thai restaurants in oakland"


def test_the_strip_is_never_without_words_while_a_known_sentence_is_typed(seat: Seat) -> None:
    desk = seat()
    assert desk.session.strip.words
    for character in "where is the restauran":
        desk.session.type(character)
        assert 1 <= len(desk.session.strip.words) <= 3


def test_nothing_is_offered_below_the_threshold(seat: Seat) -> None:
    desk = seat()
    desk.threshold(NEVER)
    desk.keys(THAI)
    assert desk.session.strip.query is None
    assert desk.session.decision is not None


def test_an_empty_line_offers_nothing_whatever_was_said_before(seat: Seat) -> None:
    desk = seat()
    desk.session.receive("shall we try one of the thai restaurants in oakland?")
    assert desk.session.strip.query is None
    desk.keys("  ")
    assert desk.session.strip.query is None
    assert desk.draws.taken == 0


def test_a_chosen_word_replaces_the_typed_part_and_ranks_again(seat: Seat) -> None:
    desk = seat()
    desk.keys("any thai restaurants in oakl")
    desk.session.choose_word("Oakland")
    assert desk.session.composed == "any thai restaurants in Oakland "
    assert desk.session.strip.query == "thai restaurants in oakland"
    desk.session.backspace()
    assert desk.session.composed == "any thai restaurants in oakl"


def test_the_space_of_a_chosen_word_ends_with_its_line(seat: Seat) -> None:
    desk = seat()
    desk.session.choose_word("Oakland")
    desk.session.clear()
    desk.keys(" a")
    assert desk.session.composed == " a"


# -- impressions ---------------------------------------------------------------------------------------------------


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
    clock = SettableClock()
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


# -- taps ----------------------------------------------------------------------------------------------------------


def test_a_tap_leaves_the_text_and_opens_a_card(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    card = desk.session.tap_query()
    assert card is not None
    assert (card.query, card.category) == ("thai restaurants in oakland", "restaurants")
    assert card.search_url == "https://search.example/?q=thai+restaurants+in+oakland"
    assert desk.session.composed == THAI
    assert desk.session.strip.query is None
    desk.session.send()
    (row,) = desk.log.impressions()
    assert row.outcome is Outcome.TAPPED
    assert row.impression.shown
    assert row.impression.propensity == pytest.approx(0.95)


def test_after_a_tap_the_line_offers_nothing_else(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    desk.session.tap_query()
    desk.keys(" or italian restaurants in oakland")
    assert desk.session.strip.query is None
    desk.session.send()
    (row,) = desk.log.impressions()
    assert row.impression.candidate == "thai restaurants in oakland"
    assert row.impression.context == THAI


def test_a_tapped_query_stays_away_for_the_conversation(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    desk.session.tap_query()
    desk.session.send()
    desk.line(THAI)
    assert all(row.impression.candidate != "thai restaurants in oakland" for row in desk.log.impressions()[1:])
    desk.session.open_conversation("c2")
    desk.keys(THAI)
    assert desk.session.strip.query == "thai restaurants in oakland"


def test_a_dismissed_query_stays_away_and_is_logged_so(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    desk.session.dismiss_query()
    desk.session.send()
    assert desk.log.impressions()[0].outcome is Outcome.DISMISSED
    desk.keys(THAI)
    assert desk.session.strip.query != "thai restaurants in oakland"


def test_after_two_ignored_offers_a_query_stays_away(seat: Seat) -> None:
    desk = seat()
    for _ in range(3):
        desk.session.open_conversation("c1")
        desk.line(THAI)
    offered = [row.impression.candidate for row in desk.log.impressions() if row.impression.shown]
    assert offered.count("thai restaurants in oakland") == 2


def test_tapping_where_nothing_is_does_nothing(seat: Seat) -> None:
    desk = seat()
    assert desk.session.tap_query() is None
    desk.session.dismiss_query()
    desk.line(NOTHING)
    assert desk.log.impressions() == []


def test_a_tap_counts_even_if_the_line_is_never_sent(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    desk.session.tap_query()
    desk.session.open_conversation("c2")
    assert desk.session.composed == ""
    assert [row.outcome for row in desk.log.impressions()] == [Outcome.TAPPED]
    assert desk.log.usage_unreported() == [UsageCount("treatment", 1, 1, 1, 1)]


def test_the_search_address_must_be_one() -> None:
    for address in ("https://search.example/", "file:///etc/{query}", "javascript:{query}"):
        with pytest.raises(ValueError, match="search address"):
            TypingSession(None, search_address=address)


def test_a_query_is_quoted_in_the_address(seat: Seat, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(QUERIES + "r&b concerts? 50% off,music\n")
    desk = seat(source=load_catalog(path))
    desk.keys("any r&b concerts? 50% off")
    card = desk.session.tap_query()
    assert card is not None
    assert card.search_url == "https://search.example/?q=r%26b+concerts%3F+50%25+off"


# -- what must never be logged -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FieldKind.PASSWORD, FieldKind.NO_LEARNING])
def test_private_fields_offer_no_query_and_reach_no_file(seat: Seat, kind: FieldKind) -> None:
    desk = seat(kind=kind)
    desk.keys(THAI + " zebrafish")
    assert desk.session.strip.query is None
    assert bool(desk.session.strip.words) is False or kind is FieldKind.NO_LEARNING
    desk.session.receive("zebrafish too")
    desk.session.send()
    desk.session.set_field_kind(FieldKind.TEXT)
    desk.line(THAI)
    (row,) = desk.log.impressions()
    assert row.impression.context == THAI
    assert desk.log.usage_unreported() == [UsageCount("treatment", 1, 1, 1, 0)]
    assert b"zebrafish" not in desk.on_disk()


def test_a_password_gets_no_words(seat: Seat) -> None:
    desk = seat(kind=FieldKind.PASSWORD)
    desk.keys("the")
    assert desk.session.strip == Strip()


def test_incognito_still_completes_words(seat: Seat) -> None:
    desk = seat(kind=FieldKind.NO_LEARNING)
    desk.keys("restau")
    assert "restaurant" in desk.session.strip.words


@pytest.mark.parametrize("kind", [FieldKind.PASSWORD, FieldKind.NO_LEARNING])
def test_a_line_that_was_private_for_one_key_is_private_as_a_whole(seat: Seat, kind: FieldKind) -> None:
    desk = seat()
    desk.keys("zebrafish and ")
    desk.session.set_field_kind(kind)
    desk.keys("x")
    desk.session.set_field_kind(FieldKind.TEXT)
    desk.keys(THAI)
    assert desk.session.strip.query is None
    desk.session.send()
    desk.line(THAI)
    assert [row.impression.context for row in desk.log.impressions()] == [THAI]
    assert b"zebrafish" not in desk.on_disk()


def test_long_numbers_never_reach_the_file(seat: Seat) -> None:
    desk = seat()
    desk.session.receive("is your card still 4111 1111 1111 1111?")
    desk.line(f"yes 4111-1111-1111-1111, {THAI}")
    (row,) = desk.log.impressions()
    assert row.impression.context == f"is your card still ⟨number⟩?\nyes ⟨number⟩, {THAI}"
    assert b"4111" not in desk.on_disk()


# -- conversations -------------------------------------------------------------------------------------------------


def test_the_context_holds_the_last_lines_of_both_sides(seat: Seat) -> None:
    desk = seat()
    for number in range(EARLIER_LINES):
        desk.session.receive(f"their line {number}")
        desk.line(f"my line {number}")
    desk.line(THAI)
    context = context_of(desk.log.impressions()[-1].impression.context)
    assert context.composed == THAI
    assert len(context.earlier) == EARLIER_LINES
    assert context.earlier[-2:] == (f"their line {EARLIER_LINES - 1}", f"my line {EARLIER_LINES - 1}")


def test_conversations_do_not_mix(seat: Seat) -> None:
    desk = seat()
    desk.line("only for c1")
    desk.session.open_conversation("c2")
    desk.line(THAI)
    desk.session.open_conversation("c1")
    desk.line(THAI)
    contexts = [row.impression.context for row in desk.log.impressions()]
    assert contexts == [THAI, f"only for c1\n{THAI}"]


# -- whole lines ---------------------------------------------------------------------------------------------------


def _rows(desk: Desk) -> list[object]:
    return [(row.impression, row.outcome) for row in desk.log.impressions()]


_TEXTS = st.sampled_from(
    [
        THAI,
        NOTHING,
        "thai restaurants in oakland or italian restaurants in oakland",
        "i need flights from boston to chicago.",
        "what's the weather in paris",
        "weather in paris!!",
        "ok",
        " ",
        "my number is 510 555 0199, thai restaurants in oakland",
    ]
)


@settings(max_examples=30, deadline=None)
@given(
    lines=st.lists(
        st.tuples(
            _TEXTS,
            st.lists(st.floats(0.01, 0.6), max_size=4),
            st.sampled_from([0.0, 0.05, 0.2, 0.5]),
            st.sampled_from([OFFER, WITHHOLD, THRESHOLD]),
            st.sampled_from([ALWAYS, NEVER, None]),
            st.booleans(),
        ),
        max_size=5,
    )
)
def test_a_line_entered_at_once_is_a_line_typed_key_by_key(
    seat: Seat, lines: list[tuple[str, list[float], float, float, float | None, bool]]
) -> None:
    draws = [line[3] for line in lines] or [THRESHOLD]
    by_key, at_once = seat(*draws), seat(*draws)
    for text, intervals, pause, _, threshold, tap in lines:
        for desk in (by_key, at_once):
            desk.threshold(desk.bundle.threshold0 if threshold is None else threshold)
        gaps = [0.2] * (len(text) - len(intervals)) + intervals[max(0, len(intervals) - len(text)) :]
        for character, gap in zip(text, gaps, strict=True):
            by_key.keys(character, gap)
        at_once.clock.now = by_key.clock.now
        at_once.session.enter_line(text, intervals, pause_s=pause)
        assert at_once.session.strip == by_key.session.strip
        assert at_once.session.composed == by_key.session.composed
        for desk in (by_key, at_once):
            desk.clock.now += pause
        if tap:
            assert at_once.session.tap_query() == by_key.session.tap_query()
        assert at_once.session.send() == by_key.session.send()
        assert at_once.session.last_line == by_key.session.last_line
        for desk in (by_key, at_once):
            desk.session.clear()
            desk.clock.now += 60
    assert _rows(at_once) == _rows(by_key)
    assert at_once.log.usage_unreported() == by_key.log.usage_unreported()
    assert at_once.draws.taken == by_key.draws.taken


def test_a_line_can_be_entered_after_some_keys(seat: Seat) -> None:
    desk, whole = seat(), seat()
    desk.keys("any thai ")
    desk.session.enter_line("restaurants in oakland")
    whole.keys(THAI)
    assert desk.session.strip == whole.session.strip


# -- things going wrong --------------------------------------------------------------------------------------------


class BreakingCatalog:
    """Works until told otherwise."""

    def __init__(self, real: CandidateSource) -> None:
        self.real = real
        self.broken = False

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        if self.broken:
            raise RuntimeError(f"cannot match {context.composed!r}")
        return self.real.candidates(context, limit)


def test_when_ranking_fails_words_stay_and_a_state_says_so(seat: Seat, catalog: CandidateSource) -> None:
    source = BreakingCatalog(catalog)
    desk = seat(source=source)
    source.broken = True
    desk.keys("any thai restaurants in oaklan")
    assert desk.session.strip.query is None
    assert desk.session.strip.words
    assert desk.session.troubles == {Trouble.RANKING}
    assert all("thai" not in trouble.value for trouble in desk.session.troubles)
    desk.session.send()
    source.broken = False
    desk.keys(THAI)
    assert desk.session.strip.query == "thai restaurants in oakland"
    assert desk.session.troubles == frozenset()


def test_when_the_log_cannot_be_written_typing_goes_on(seat: Seat) -> None:
    desk = seat()
    database = desk.log._storage._database()
    database.execute("PRAGMA query_only = ON")
    desk.line(THAI)
    assert desk.session.troubles == {Trouble.LOG}
    assert desk.session.composed == ""
    database.execute("PRAGMA query_only = OFF")
    desk.line(THAI)
    assert desk.session.troubles == frozenset()
    assert len(desk.log.impressions()) == 1


def test_a_session_without_engine_log_or_words_still_types() -> None:
    session = TypingSession(None)
    session.type("h")
    session.enter_line("ello")
    assert session.send() == "hello"
    assert session.strip == Strip()
    assert session.troubles == frozenset()


def test_sending_nothing_sends_nothing(seat: Seat) -> None:
    desk = seat()
    desk.keys("   ")
    desk.session.send()
    assert desk.log.usage_unreported() == []


@settings(max_examples=40, deadline=None)
@given(
    actions=st.lists(
        st.one_of(
            st.text(max_size=6),
            st.sampled_from(["<back", "<send", "<tap", "<dismiss", "<left", "<private", "<text", "<open", "<word"]),
        ),
        max_size=40,
    )
)
def test_no_order_of_actions_breaks_a_session(seat: Seat, actions: list[str]) -> None:
    desk = seat(OFFER)
    session = desk.session
    act: dict[str, Callable[[], object]] = {
        "<back": session.backspace,
        "<send": session.send,
        "<tap": session.tap_query,
        "<dismiss": session.dismiss_query,
        "<left": lambda: session.move_cursor(session.cursor - 3),
        "<private": lambda: session.set_field_kind(FieldKind.NO_LEARNING),
        "<text": lambda: session.set_field_kind(FieldKind.TEXT),
        "<open": lambda: session.open_conversation(f"c{desk.draws.taken % 3}"),
        "<word": lambda: session.choose_word((session.strip.words or ("x",))[0]),
    }
    for action in actions:
        desk.clock.now += 0.1
        act.get(action, lambda action=action: session.type(action))()  # type: ignore[misc]
    session.enter_line(THAI)
    session.send()
    assert session.troubles == frozenset()
    for row in desk.log.impressions():
        assert 0 < row.impression.propensity <= 1
        assert row.impression.shown or row.outcome is Outcome.WITHHELD
