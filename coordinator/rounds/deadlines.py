"""How long a phase waits for answers: as long as recent rounds of the task needed, and some.

Nobody knows that a device has vanished but by its silence, so every phase in which one did lasts until its deadline.
A configured deadline must suit the worst day. So when a phase is closed, the time by which nearly all of its answers
were there is noted, and the next deadline is a multiple of what the newest phases needed, between the shortest and the
configured one. What is noted is in the database: any process sets the same deadline.

The deadline cannot talk itself down: answers that come close to it move the next one up (the multiple is larger than
one), and after a phase that ended with too few answers the configured time holds again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import Connection

from coordinator.settings import DeadlineSettings
from coordinator.storage import message_store, phase_times
from coordinator.storage.round_store import Round
from federated_protocol.messages import Phase

NEARLY_ALL = 0.98
"""Share of a phase's answers whose arrival is waited for: the rest may have been stragglers."""
MARGIN = 1.5
"""Deadlines are so many times what was needed."""
NEWEST = 8
"""Closed phases, of cohorts, that are looked at; the slowest of them counts."""
FEWEST_ANSWERS = 20
"""With fewer answers in them nothing is known."""

_CONFIGURED: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.ADVERTISE: "advertise_s",
        Phase.SHARE: "share_s",
        Phase.MASKED_INPUT: "masked_input_s",
        Phase.CONFIRM: "confirm_s",
        Phase.UNMASK: "unmask_s",
    }
)


def configured_s(setting: DeadlineSettings, phase: Phase) -> float:
    """The longest time a phase may last, seconds."""
    longest: float = getattr(setting, _CONFIGURED[phase])
    return longest


def deadline_s(connection: Connection, setting: DeadlineSettings, task: str, phase: Phase) -> float:
    """How long the phase that begins now may last, seconds."""
    longest = configured_s(setting, phase)
    if not setting.adaptive:
        return longest
    newest = phase_times.newest(connection, task, phase, NEWEST)
    if sum(found.answered for found in newest) < FEWEST_ANSWERS:
        return longest
    if any(found.short for found in newest if found.number == newest[0].number):
        return longest
    needed = max(found.needed_s for found in newest)
    return min(longest, max(setting.shortest_s, MARGIN * needed))


def note(connection: Connection, row: Round, phase: Phase, *, short: bool) -> None:
    """Remember what a phase that is being closed needed; call it in the transaction that closes it."""
    answered = message_store.count_messages(connection, row.id, phase)
    place = math.ceil(NEARLY_ALL * answered)
    arrived = message_store.arrival(connection, row.id, phase, place) if place else None
    needed = 0.0 if arrived is None else max(0.0, arrived - row.state_since)
    phase_times.put(connection, row.id, phase, answered=answered, needed_s=needed, short=short)
