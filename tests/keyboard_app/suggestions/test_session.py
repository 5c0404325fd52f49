"""The typing session: what the strip shows, what a conversation is, and that typing goes on whatever fails."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from data_logging import Outcome
from keyboard_app.suggestions import FieldKind, Strip, Trouble, TypingSession
from keyboard_app.suggestions.conversation import EARLIER_LINES
from suggestion_model.features import context_of
from suggestion_model.types import Candidate, CandidateSource, Context
from tests.keyboard_app.suggestions.desk import NEVER, OFFER, THAI, Seat

# -- the strip ------------------------------------------------------------------------------------------------------


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


# -- conversations --------------------------------------------------------------------------------------------------


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


# -- things going wrong ---------------------------------------------------------------------------------------------


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
