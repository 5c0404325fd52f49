"""A line entered at once is a line typed key by key."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.keyboard_app.suggestions.desk import ALWAYS, NEVER, NOTHING, OFFER, THAI, THRESHOLD, WITHHOLD, Desk, Seat


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
