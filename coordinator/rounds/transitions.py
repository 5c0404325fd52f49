"""Take one transition of a round: the row, its history and a log line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from coordinator.events import Event, log_event
from coordinator.rounds.states import RoundEvent, RoundState
from coordinator.storage import round_store
from coordinator.storage.round_store import Round
from federated_protocol.messages import AbandonReason


def take(
    connection: Connection,
    row: Round,
    event: RoundEvent,
    now: float,
    *,
    reason: AbandonReason | None = None,
    actor: str | None = None,
    **values: Any,
) -> bool:
    """As :func:`coordinator.storage.round_store.move`, and say so in the log; False when somebody else was faster."""
    moved = round_store.move(connection, row, event, now, reason=reason, actor=actor, **values)
    if moved:
        log_event(
            Event.ROUND_MOVED,
            round=row.number,
            attempt=row.attempt,
            cohort=row.cohort,
            left=list(RoundState).index(row.state),
            still_in=row.still_in,
            abandoned=int(reason is not None),
            seconds=now - row.state_since,
        )
    return moved


def take_all(
    connection: Connection,
    rows: Iterable[Round],
    event: RoundEvent,
    now: float,
    *,
    reason: AbandonReason | None = None,
    **values: Any,
) -> bool:
    """Take the same transition of several cohorts; False when somebody else was faster with all of them."""
    moved = [take(connection, row, event, now, reason=reason, **values) for row in rows]
    return any(moved)
