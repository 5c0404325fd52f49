"""Rounds that an operator ends: what they hold is never opened."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from coordinator.rounds.states import RoundEvent
from coordinator.rounds.tasks import RoundTask
from coordinator.rounds.transitions import take
from coordinator.storage import round_store
from federated_protocol.messages import AbandonReason


def stop_rounds(connection: Connection, tasks: Iterable[RoundTask], *, now: float, actor: str) -> int:
    """End every running round of ``tasks``, the next selection included; how many there were, cohorts counted apart.

    Devices hear ``operator`` as the reason. A sum that was opened a moment ago stays charged, and makes no version.
    """
    running = [row for task in tasks for row in round_store.running_rounds(connection, task.name, lock=True)]
    return sum(
        take(connection, row, RoundEvent.STOPPED, now, reason=AbandonReason.OPERATOR, actor=actor) for row in running
    )
