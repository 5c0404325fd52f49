"""Pace steering: tell devices when to ask again (arXiv 1902.01046, section 2.3).

A small population should coincide, so that a round fills at once: everybody who is turned away is asked back at the
moment the next selection is expected. A little jitter keeps them from arriving in the same millisecond.

A large population must spread, or millions would ask for a thousand places at once: so many are asked back in each
interval between two selections as it can use (:data:`CANDIDATES_A_PLACE` for each place), the others later. How many
devices there are nobody counts; it follows from what they were told: by Little's law the devices that are away number
arrivals a second times the mean time they were sent away, which is the sum of all times told in an hour, divided by an
hour (:class:`coordinator.operation.population.Population`). That sum follows the day: at night, when most devices are
willing, the spread grows, and in the afternoon it shrinks, so selections fill at all hours and no hour overwhelms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from coordinator.rounds.states import RoundState
from coordinator.settings import PaceSettings
from coordinator.storage.round_store import Round

JITTER = 0.2
UNKNOWN_DURATION_S = 5.0
CANDIDATES_A_PLACE = 3.0
"""Check-ins wanted for one place in a cohort: not everybody who was asked back is still willing."""
AFTER_DEADLINE_S = 0.5
"""A phase is closed by the first tick after its deadline."""

MOST_POLLS_A_SECOND = 250.0
"""Of a whole cohort: half of what a core answers, so that messages are not held up by questions."""
SHORTEST_POLL_S = 0.1
MOST_PAUSES = 4.0
"""So many pauses of :func:`poll_interval_s` a device of a large cohort may sleep."""


def poll_interval_s(cohort: int) -> float:
    """How long a device in a round waits before it asks again: 0.1 s for up to 25 devices, 4 s for 1,000."""
    return max(SHORTEST_POLL_S, cohort / MOST_POLLS_A_SECOND)


def poll_after_s(
    cohort: int,
    elapsed_s: float,
    remaining_s: float,
    pace: PaceSettings,
    uniform: float,
    *,
    answered: int = 0,
    idle_s: float = math.inf,
) -> float:
    """How long a device waits before it asks again whether a phase is over.

    Every question costs a device some hundred bytes and the coordinator a millisecond. While answers come in, the end
    of the phase can be told from their rate, and a device sleeps until then: few ask in vain, and few sleep on when the
    next phase has begun. Where nothing comes in any more (devices vanished), pauses grow with the phase's age, and
    whoever would ask around the deadline is asked back just after it. How far they may grow is a choice between bytes
    and the time a round takes.

    Parameters
    ----------
    cohort
        Devices still in: more of them ask less often.
    elapsed_s, remaining_s
        Since the phase began, and until its deadline.
    pace
        ``poll_growth`` is the pause as a multiple of ``elapsed_s``, ``longest_poll_s`` bounds it, or a few of
        :func:`poll_interval_s` where these are longer.
    uniform
        In [0, 1): spreads those who come back after the deadline.
    answered, idle_s
        Devices that answered the phase so far, and seconds since one more of them did.
    """
    shortest = poll_interval_s(cohort)
    most = MOST_PAUSES * shortest
    to_come_s = elapsed_s * (cohort - answered) / answered if answered > 0 else math.inf
    if to_come_s < math.inf and idle_s <= max(1.0, to_come_s):
        wait = min(max(shortest, min(elapsed_s, most)), max(SHORTEST_POLL_S, 1.2 * to_come_s))
    else:
        wait = min(max(shortest, pace.poll_growth * elapsed_s), max(most, pace.longest_poll_s))
    if 0 < remaining_s <= wait:
        return remaining_s + AFTER_DEADLINE_S + 0.5 * shortest * uniform
    return wait


def typical_duration_s(ended: Sequence[Round]) -> float:
    """Mean time from the end of selection to the end of the given rounds' lives; a guess when there are none."""
    durations = [
        row.ended_at - row.opened_at for row in ended if row.ended_at is not None and row.state is RoundState.PUBLISHED
    ]
    return sum(durations) / len(durations) if durations else UNKNOWN_DURATION_S


def spread_s(active: float, places: int, interval_s: float) -> float:
    """Over how long devices that are asked back spread, so that each interval sees as many as it can use.

    Parameters
    ----------
    active
        Devices that are willing at this time of day, an estimate.
    places
        Devices that one selection takes.
    interval_s
        Seconds from one selection to the next.
    """
    wanted = CANDIDATES_A_PLACE * max(places, 1)
    return interval_s * active / wanted if active > wanted else 0.0


def delay_range(expected_s: float, spread: float, pace: PaceSettings) -> tuple[float, float]:
    """Shortest delay, and the width over which delays are drawn evenly on top of it, both in seconds.

    Parameters
    ----------
    expected_s
        Until the next selection.
    spread
        From :func:`spread_s`; 0 lets devices coincide, but for a little jitter.
    """
    first = min(pace.longest_s, max(pace.shortest_s, expected_s))
    return first, max(JITTER * first, min(spread, pace.longest_s - first))


def come_back_after_s(
    now: float,
    running: Round | None,
    ended: Sequence[Round],
    pause_s: float,
    pace: PaceSettings,
    uniform: Callable[[], float],
    active: float = 0.0,
    places: int = 1,
    opens_at: float | None = None,
) -> float:
    """Seconds until a device should ask again: when the next selection is expected, or later if there are many.

    Parameters
    ----------
    running
        The round under way, if any.
    ended
        The newest rounds that ended, newest first.
    uniform
        Draws from [0, 1).
    active, places
        As for :func:`spread_s`.
    opens_at
        When the next selection is expected, Unix seconds, if it does not wait for the end of the running round.
    """
    if opens_at is not None:
        expected = opens_at - now
    elif running is not None:
        expected = running.opened_at + typical_duration_s(ended) + pause_s - now
    elif ended and ended[0].ended_at is not None:
        expected = ended[0].ended_at + pause_s - now
    else:
        expected = 0.0
    interval = typical_duration_s(ended) + pause_s
    first, width = delay_range(expected, spread_s(active, places, interval), pace)
    return first + width * uniform()
