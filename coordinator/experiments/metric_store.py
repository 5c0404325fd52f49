"""The counters of each opened sum, one row a name. Those of a deviant cohort are kept, and left out of every report."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, bindparam, func, insert, select

from coordinator.storage.tables import metric_sums, rounds
from federated_protocol.messages import AbandonReason

_COUNTS = rounds.c.reason.is_distinct_from(AbandonReason.DEVIANT_COHORT.value)
"""The cohorts whose counters are believed."""
_NEWEST_COUNTED = (  # asked on every tick
    select(metric_sums.c.round_id)
    .join(rounds, rounds.c.id == metric_sums.c.round_id)
    .where(rounds.c.task.in_(bindparam("tasks", expanding=True)), _COUNTS)
    .distinct()
    .order_by(metric_sums.c.round_id.desc())
    .limit(bindparam("most"))
)


def add_sums(connection: Connection, round_id: int, sums: Mapping[str, int]) -> None:
    """Store the counters of a round, in the transaction that opens its sum."""
    rows = [{"round_id": round_id, "name": name, "value": value} for name, value in sums.items()]
    if rows:
        connection.execute(insert(metric_sums), rows)


def usage_totals(connection: Connection, tasks: Collection[str]) -> dict[str, int]:
    """Lines, offers and clicks by arm and version, summed over all rounds of these tasks."""
    query = (
        select(metric_sums.c.name, func.sum(metric_sums.c.value))
        .join(rounds, rounds.c.id == metric_sums.c.round_id)
        .where(rounds.c.task.in_(tasks), _COUNTS, metric_sums.c.name.like("%/%/%"))
        .group_by(metric_sums.c.name)
    )
    return {name: int(value) for name, value in connection.execute(query)}


def sums_of(connection: Connection, round_id: int) -> dict[str, int]:
    """The counters of one cohort."""
    query = select(metric_sums.c.name, metric_sums.c.value).where(metric_sums.c.round_id == round_id)
    return {name: int(value) for name, value in connection.execute(query)}


def added_sums(connection: Connection, round_ids: Collection[int]) -> dict[str, int]:
    """The counters of several cohorts, added in the clear."""
    query = (
        select(metric_sums.c.name, func.sum(metric_sums.c.value))
        .join(rounds, rounds.c.id == metric_sums.c.round_id)
        .where(metric_sums.c.round_id.in_(round_ids), _COUNTS)
        .group_by(metric_sums.c.name)
    )
    return {name: int(value) for name, value in connection.execute(query)}


def comparison_sums(connection: Connection, tasks: Collection[str], limit: int = 200) -> list[dict[str, int]]:
    """Usage, moments and arm sizes of each of the newest ``limit`` opened sums, oldest first.

    Sums with estimates under noise are left out: they hold no moments, so nothing can be decided from them.
    """
    newest = newest_counted_rounds(connection, tasks, limit)
    found: dict[int, dict[str, int]] = {round_id: {} for round_id in reversed(newest)}
    if newest:
        query = select(metric_sums.c.round_id, metric_sums.c.name, metric_sums.c.value).where(
            metric_sums.c.round_id.in_(newest),
            metric_sums.c.name.like("%/%/%") | metric_sums.c.name.like("devices/%"),
        )
        for round_id, name, value in connection.execute(query):
            found[round_id][name] = int(value)
    return [sums for sums in found.values() if not any(name.endswith("_variance") for name in sums)]


def usage_by_round(connection: Connection, task: str, limit: int) -> list[tuple[int, dict[str, int]]]:
    """Number of each of the newest rounds, and its lines, offers and clicks over all cohorts; newest first."""
    newest = (
        select(rounds.c.number)
        .join(metric_sums, metric_sums.c.round_id == rounds.c.id)
        .where(rounds.c.task == task, _COUNTS)
        .distinct()
        .order_by(rounds.c.number.desc())
        .limit(limit)
    )
    found: dict[int, dict[str, int]] = {number: {} for number in connection.scalars(newest)}
    query = (
        select(rounds.c.number, metric_sums.c.name, func.sum(metric_sums.c.value))
        .join(rounds, rounds.c.id == metric_sums.c.round_id)
        .where(rounds.c.task == task, _COUNTS, rounds.c.number.in_(list(found)))
        .where(metric_sums.c.name.like("%/%/%"))
        .group_by(rounds.c.number, metric_sums.c.name)
    )
    for number, name, value in connection.execute(query):
        found[number][name] = int(value)
    return list(found.items())


def newest_counted_rounds(connection: Connection, tasks: Collection[str], limit: int) -> list[int]:
    """Ids of the newest cohorts whose sum was opened, newest first."""
    return list(connection.scalars(_NEWEST_COUNTED, {"tasks": list(tasks), "most": limit}))
