"""When a selection opens, when it is over, and how its devices become the cohorts of a round.

Pipelining (arXiv 1902.01046, section 4.3): the next selection may open while the cohorts of the round it follows still
send their masked inputs, so that its devices are there when that round ends. Its plan and base model are fixed then and
no earlier, so no update is stale, and whoever is still in a running round joins no selection
(:mod:`coordinator.rounds.admission`). With the evaluation gate trainings and evaluations follow each other by turns; a
selection whose turn does not come, since a training made no version or an evaluation no verdict, lets its devices go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from coordinator.releases.model_store import current_model
from coordinator.releases.rollout import rounds_paused
from coordinator.rounds import planning
from coordinator.rounds.cohorts import deal, number_of_cohorts
from coordinator.rounds.deadlines import deadline_s
from coordinator.rounds.states import ORDER, SHORT_REASON, RoundEvent, RoundState
from coordinator.rounds.tasks import RoundTask
from coordinator.rounds.transitions import take
from coordinator.settings import Settings
from coordinator.storage import participant_store, round_store
from coordinator.storage.round_store import Round
from federated_protocol.messages import AbandonReason, Phase
from federated_protocol.randomness import ByteSource

BEFORE_ANY_INPUT = (
    AbandonReason.TOO_FEW_SELECTED,
    AbandonReason.TOO_FEW_ADVERTISED,
    AbandonReason.TOO_FEW_SHARED,
)


class Selection:
    """Opens selections and closes them; holds no state.

    Parameters
    ----------
    rng
        Secure byte source for session ids, the draw of cohorts, and rotation seeds.
    """

    def __init__(self, settings: Settings, rng: ByteSource) -> None:
        self._settings = settings
        self._rng = rng

    def may_open(self, connection: Connection, task: RoundTask, running: Sequence[Round], now: float) -> bool:
        """Whether a selection of ``task`` is due, beside its ``running`` rounds."""
        if any(row.state is RoundState.SELECTING for row in running) or rounds_paused(connection):
            return False
        if not running and task.wanted(connection):
            return _rested(connection, task, now)
        before = _under_way(connection, task)
        if not before or any(row.task != task.follows for row in running):
            return False
        reporting = all(ORDER.index(row.state) >= ORDER.index(RoundState.COLLECTING) for row in before)
        return reporting and task.wanted(connection, beside=before)

    def open(self, connection: Connection, task: RoundTask, now: float) -> bool:
        """Open it, if it is still due."""
        running = round_store.running_rounds(connection, task.name, lock=True)
        if not self.may_open(connection, task, running, now):
            return False
        last = _last_attempt(connection, task)
        # A retry is the same round only if nobody can have masked an input for it.
        again = bool(last) and all(row.reason in BEFORE_ANY_INPUT for row in last)
        number = 1 if not last else last[0].number if again else last[0].number + 1
        return round_store.open_round(
            connection,
            task=task.name,
            number=number,
            attempt=last[0].attempt + 1 if again else 1,
            session=self._session(),
            base_version=current_model(connection).version,
            quorum=self._settings.rounds.minimum_count,
            now=now,
            deadline=now + self._settings.deadlines.selecting_s,
        )

    def is_over(
        self, connection: Connection, task: RoundTask, row: Round, running: Sequence[Round], now: float
    ) -> bool:
        """Whether a selection can be closed: it is full, or settled, or late, and no other round is in the way."""
        if any(other.id != row.id for other in running):
            return False
        before = _under_way(connection, task)  # read first: whoever is not in it has left its version or verdict
        if not task.ready(connection):
            return not before
        if not _rested(connection, task, now):
            return False
        ended_at = round_store.last_ended_at(connection, task.follows or task.name)
        setting, deadline = self._settings.rounds, row.deadline
        if ended_at is not None and ended_at > row.opened_at:  # those who were in that round may still come
            deadline = max(deadline, ended_at + self._settings.deadlines.selecting_s)
        settled = row.last_joined_at is not None and now >= row.last_joined_at + setting.settle_s
        enough = row.still_in >= self._settings.most_selected or (row.still_in >= setting.goal_count and settled)
        return enough or now >= deadline

    def close(self, connection: Connection, task: RoundTask, row: Round, now: float) -> bool:
        """Fix the cohorts and what they are asked; False when nothing changed."""
        if not task.ready(connection):
            reason = AbandonReason.EVALUATION_GATE
            return take(connection, row, RoundEvent.STOPPED, now, reason=reason, selected=row.still_in)
        if row.still_in == 0:  # nobody was there: wait on, an abandoned round would tell nobody anything
            round_store.change_round(connection, row.id, deadline=now + self._settings.deadlines.selecting_s)
            return False
        if row.still_in < row.quorum:
            reason = SHORT_REASON[row.state]
            return take(connection, row, RoundEvent.SHORT, now, reason=reason, selected=row.still_in)
        members = [member.device for member in participant_store.all_participants(connection, row.id)]
        cohorts = deal(members, number_of_cohorts(len(members), self._settings.rounds), self._rng)
        if not self._configure(connection, task, row, now, len(cohorts[0]), len(cohorts)):
            return True  # abandoned whole
        for number, devices in enumerate(cohorts[1:], start=2):
            split = round_store.split_off(connection, row, number, len(cohorts), self._session(), devices, now)
            self._configure(connection, task, split, now, len(devices), len(cohorts))
        return True

    def _configure(
        self, connection: Connection, task: RoundTask, row: Round, now: float, devices: int, cohorts: int
    ) -> bool:
        """Give one cohort its plan; False when it was abandoned instead."""
        prepared = task.prepare(connection, row, devices, self._rng)
        counts: dict[str, Any] = {"selected": devices, "still_in": devices, "cohorts": cohorts}
        if prepared is None or not task.affords(connection, prepared.plan, cohorts):
            reason = AbandonReason.OPERATOR if prepared is None else AbandonReason.PRIVACY_BUDGET
            take(connection, row, RoundEvent.STOPPED, now, reason=reason, selected=row.still_in)
            return False
        encoded = planning.encode_plan(prepared.plan)
        return take(
            connection,
            row,
            RoundEvent.QUORUM,
            now,
            base_version=prepared.base.version,
            plan=encoded,
            plan_digest=planning.digest(encoded),
            quorum=self._settings.rounds.smallest_aggregate,
            bytes_down=row.bytes_down + len(encoded) * devices,
            deadline=now + deadline_s(connection, self._settings.deadlines, task.name, Phase.ADVERTISE),
            **counts,
        )

    def _session(self) -> str:
        return self._rng(8).hex()


def _under_way(connection: Connection, task: RoundTask) -> list[Round]:
    """The running rounds that a selection of this task may wait for."""
    return [] if task.follows is None else round_store.running_rounds(connection, task.follows)


def _rested(connection: Connection, task: RoundTask, now: float) -> bool:
    """Whether the pause after the last round that ended is over."""
    ended_at = round_store.last_ended_at(connection, task.name)
    return ended_at is None or now >= ended_at + task.pause_s


def _last_attempt(connection: Connection, task: RoundTask) -> list[Round]:
    newest = next(iter(round_store.newest_rounds(connection, task.name, 1)), None)
    return [] if newest is None else round_store.cohorts_of(connection, newest)
