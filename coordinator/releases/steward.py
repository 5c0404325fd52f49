"""Looks after versions in the field: rolls back what harms, moves what does not to its next stage."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from coordinator.experiments import metric_store
from coordinator.experiments.click_through import usage_by_arm
from coordinator.experiments.comparison import TREATMENT, compare_over_rounds
from coordinator.operation.audit import AUTOMATIC
from coordinator.releases.evaluation_gate import give_up, overdue
from coordinator.releases.rollout import (
    GONE,
    STAGED,
    all_rollouts,
    compared_with,
    holdback_versions,
    roll_back,
    set_percent,
)
from coordinator.settings import Settings
from coordinator.storage import Database
from coordinator.storage.tables import rollouts

ROUNDS_JUDGED = 200


class RolloutSteward:
    """Looks at every newly opened sum: rolls back what harms, moves what does not to its next stage."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._judged = -1

    def tick(self, now: float) -> int | None:
        """Do what is due; the version that a rollback published, or None."""
        setting = self._settings.releases
        with self._database.reading() as connection:
            newest = next(iter(metric_store.newest_counted_rounds(connection, self._settings.counting_tasks, 1)), -1)
            waiting = overdue(connection, self._settings, now)
            stages_due = len(setting.rollout_stages) > 1 and self._due_stages(connection, now)
        published = None
        if newest != self._judged and setting.automatic_rollback:
            published = self._roll_back_harmful(now)
        self._judged = newest
        if waiting is not None:
            with self._database.writing() as connection:
                published = give_up(connection, self._settings, now) or published
        for version, percent in stages_due or ():
            with self._database.writing() as connection:
                if all_rollouts(connection, setting.rollout_stages[0])[version].state == STAGED:
                    set_percent(connection, version, percent, now=now, actor=AUTOMATIC, reason="next stage")
        return published

    def _roll_back_harmful(self, now: float) -> int | None:
        with self._database.reading() as connection:
            sums = metric_store.comparison_sums(connection, self._settings.counting_tasks, ROUNDS_JUDGED)
            known = all_rollouts(connection, 100.0)
            holdback = holdback_versions(connection)
        harmful = self._harmful(sums, [v for v in known if v and known[v].state not in GONE], holdback)
        if harmful is None:
            return None
        version, verdict = harmful
        with self._database.writing() as connection:
            state = connection.scalar(select(rollouts.c.state).where(rollouts.c.version == version))
            if state in GONE:  # another process was faster
                return None
            return roll_back(connection, version, now=now, actor=AUTOMATIC, reason=verdict)

    def _harmful(
        self, sums: Sequence[dict[str, int]], standing: Sequence[int], holdback: Sequence[int]
    ) -> tuple[int, str] | None:
        counted = {usage.version for row in sums for usage in usage_by_arm(row) if usage.arm == TREATMENT}
        setting = self._settings.metrics
        for version in sorted(counted & set(standing)):
            found = compare_over_rounds(
                version,
                sums,
                setting.holdback_percent / 100,
                compared_with=compared_with(version, holdback),
                level=setting.confidence,
            )
            if found.verdict.harmful:
                return version, found.verdict.value
        return None

    def _due_stages(self, connection: Connection, now: float) -> list[tuple[int, float]]:
        setting = self._settings.releases
        due = []
        for rollout in all_rollouts(connection, setting.rollout_stages[0]).values():
            following = [p for p in setting.rollout_stages if p > rollout.percent]
            if rollout.state == STAGED and following and now >= rollout.changed_at + setting.stage_s:
                due.append((rollout.version, following[0]))
        return due[-1:]  # only the newest: older ones are superseded
