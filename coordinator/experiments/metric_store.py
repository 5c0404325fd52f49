"""The counters of each opened sum, one row a name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, bindparam, func, insert, select

from coordinator.storage.tables import metric_sums, rounds

_NEWEST_COUNTED = (  # asked on every tick
    select(metric_sums.c.round_id)
    .join(rounds, rounds.c.id == metric_sums.c.round_id)
    .where(rounds.c.task.in_(bindparam("tasks", expanding=True)))
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
        .where(rounds.c.task.in_(tasks), metric_sums.c.name.like("%/%/%"))
        .group_by(metric_sums.c.name)
    )
    return {name: int(value) for name, value in connection.execute(query)}


def sums_of(connection: Connection, round_id: int) -> dict[str, int]:
    """The counters of one round."""
    query = select(metric_sums.c.name, metric_sums.c.value).where(metric_sums.c.round_id == round_id)
    return {name: int(value) for name, value in connection.execute(query)}


def comparison_sums(connection: Connection, tasks: Collection[str], limit: int = 200) -> list[dict[str, int]]:
    """Usage, moments and arm sizes of each of the newest ``limit`` opened sums, oldest first."""
    newest = newest_counted_rounds(connection, tasks, limit)
    found: dict[int, dict[str, int]] = {round_id: {} for round_id in reversed(newest)}
    if newest:
        query = select(metric_sums.c.round_id, metric_sums.c.name, metric_sums.c.value).where(
            metric_sums.c.round_id.in_(newest),
            metric_sums.c.name.like("%/%/%") | metric_sums.c.name.like("devices/%"),
        )
        for round_id, name, value in connection.execute(query):
            found[round_id][name] = int(value)
    return list(found.values())


def usage_sums_of(connection: Connection, round_id: int) -> dict[str, int]:
    """Lines, offers and clicks of one round, without the histograms."""
    query = select(metric_sums.c.name, metric_sums.c.value).where(
        metric_sums.c.round_id == round_id, metric_sums.c.name.like("%/%/%")
    )
    return {name: int(value) for name, value in connection.execute(query)}


def newest_counted_rounds(connection: Connection, tasks: Collection[str], limit: int) -> list[int]:
    """Ids of the newest rounds whose sum was opened, newest first."""
    return list(connection.scalars(_NEWEST_COUNTED, {"tasks": list(tasks), "most": limit}))
