"""Which device is told of which version: staged rollout, withdrawal, rolling back, the kill switch.

A device's place in a rollout is a hash of its key, so a version at ten per cent reaches the same tenth every time and
nobody has to store who. Which arm it is in a device knows alone, so every device is told both: the version of the
treatment arm, and the newest that was rolled out to *all* arms. The holdback ranks with that one (with version 0 until
there is one), and later versions are compared with it.

A version is never taken back by lowering a number: rolling back publishes the good version's weights again under the
next number, and the bad one, with everything trained on top of it, is withdrawn, which takes it out of the signed
targets as well.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, update

from coordinator.errors import ReleaseError
from coordinator.operation.audit import record
from coordinator.releases.model_store import (
    add_model,
    load_artifact,
    published_model,
)
from coordinator.rounds.states import RoundEvent
from coordinator.storage import round_store
from coordinator.storage.tables import meta, models, rollouts, rounds
from federated_protocol.messages import AbandonReason, HoldbackModel, ModelNotice

CANDIDATE, STAGED, LIVE, WITHDRAWN, REPLACED = "candidate", "staged", "live", "withdrawn", "replaced"
GONE = (WITHDRAWN, REPLACED)
"""Told to nobody, for good: it harmed, or went out under the next number with another threshold."""


class RolloutArms(enum.StrEnum):
    """Which arms rank with a version."""

    TREATMENT = "treatment"
    ALL = "all"
    """The holdback as well: it is what later versions are compared with."""


_SALT = b"federated-keyboard rollout\0"
_PAUSED = "rounds_paused"
_REACHED, _HELD = rollouts.alias("reached"), models.alias("held")
_HOLDBACK = select(func.max(_REACHED.c.version)).where(
    _REACHED.c.arms == RolloutArms.ALL.value,
    _REACHED.c.state.not_in(GONE),
    _REACHED.c.percent > bindparam("bucket"),
)
_OFFERED = (
    select(
        models.c.version, models.c.digest, _HELD.c.version.label("held_version"), _HELD.c.digest.label("held_digest")
    )
    .outerjoin(rollouts, rollouts.c.version == models.c.version)
    .outerjoin(_HELD, _HELD.c.version == _HOLDBACK.scalar_subquery())
    .where(
        (models.c.version == 0)
        | (
            (func.coalesce(rollouts.c.percent, bindparam("first_percent")) > bindparam("bucket"))
            & func.coalesce(rollouts.c.state, STAGED).not_in(GONE)
        )
    )
    .order_by(models.c.version.desc())
    .limit(1)
)
_IS_PAUSED = select(meta.c.value).where(meta.c.name == _PAUSED)
_WAITING = select(func.min(rollouts.c.version)).where(rollouts.c.state == CANDIDATE)
"""Made once: it is asked several times a check-in."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a version has come."""

    version: int
    state: str
    percent: float
    arms: RolloutArms
    reason: str
    changed_at: float


def rollout_bucket(device: bytes) -> float:
    """A device's place in every rollout, [0, 100): it is told of versions whose percentage lies above."""
    return int.from_bytes(hashlib.sha256(_SALT + device).digest()[:8], "big") % 10_000 / 100.0


def offered_notice(connection: Connection, device: bytes, first_percent: float) -> ModelNotice:
    """The newest version this device is to rank with, in the treatment arm and in the holdback.

    ``first_percent`` is the share of devices a version begins with that nobody has decided about yet.
    """
    asked = {"first_percent": first_percent, "bucket": rollout_bucket(device)}
    found = connection.execute(_OFFERED, asked).one()  # every database holds at least version 0
    holdback = None if found.held_version is None else HoldbackModel(found.held_version, found.held_digest)
    return ModelNotice(found.version, found.digest, holdback)


def holdback_versions(connection: Connection) -> list[int]:
    """What the holdback ranks or has ranked with, oldest first; the last one is what it is given now."""
    query = select(rollouts.c.version).where(
        rollouts.c.arms == RolloutArms.ALL.value, rollouts.c.state.not_in(GONE), rollouts.c.percent > 0
    )
    return [0, *sorted(connection.scalars(query))]


def compared_with(version: int, holdback: Sequence[int]) -> int:
    """Which of the holdback's versions a version is compared with: the newest before it."""
    return max((held for held in holdback if held < version), default=0)


def all_rollouts(connection: Connection, first_percent: float) -> dict[int, Rollout]:
    """Every version's rollout, those nobody decided about included."""
    query = (
        select(models.c.version, models.c.created_at, rollouts.c.state, rollouts.c.percent)
        .add_columns(rollouts.c.arms, rollouts.c.reason, rollouts.c.changed_at)
        .outerjoin(rollouts, rollouts.c.version == models.c.version)
        .order_by(models.c.version)
    )
    found = {}
    for row in connection.execute(query):
        if row.state is not None:
            arms = RolloutArms(row.arms)
            found[row.version] = Rollout(row.version, row.state, row.percent, arms, row.reason, row.changed_at)
        else:
            percent = 100.0 if row.version == 0 else first_percent
            state = LIVE if percent >= 100 else STAGED
            arms = RolloutArms.TREATMENT if row.version else RolloutArms.ALL
            found[row.version] = Rollout(row.version, state, percent, arms, "published", row.created_at)
    return found


def set_percent(
    connection: Connection,
    version: int,
    percent: float,
    arms: RolloutArms | None = None,
    *,
    now: float,
    actor: str,
    reason: str,
) -> Rollout:
    """Tell ``percent`` of the devices of a version, of the treatment arm alone or of all arms (None: as before).

    Raises
    ------
    ReleaseError
        when there is no such version, it was withdrawn, or the percentage is none.
    """
    if not 0 <= percent <= 100:
        raise ReleaseError("a rollout's percentage lies between 0 and 100")
    published_model(connection, version)
    known = connection.execute(select(rollouts).where(rollouts.c.version == version)).one_or_none()
    if known is not None and known.state in GONE:
        raise ReleaseError(f"version {version} was {known.state} for good: roll a later one out")
    if version == 0:
        raise ReleaseError("version 0 ships with the app: every device has it")
    if arms is None:
        arms = RolloutArms.TREATMENT if known is None else RolloutArms(known.arms)
    state = LIVE if percent >= 100 else STAGED
    _decide(connection, version, state, percent, reason, now, arms)
    whom = "all devices" if arms is RolloutArms.ALL else "the treatment arm"
    record(connection, now, actor, "rollout", f"version {version} to {percent:g} % of {whom} ({reason})")
    return Rollout(version, state, percent, arms, reason, now)


def hold_back(connection: Connection, version: int, *, now: float) -> None:
    """Make a new version a candidate: nobody is told of it until it was judged."""
    _decide(connection, version, CANDIDATE, 0.0, "to be evaluated", now)


def awaiting_evaluation(connection: Connection) -> int | None:
    """The version that is to be judged next, None when there is none."""
    waiting: int | None = connection.scalar(_WAITING)
    return waiting


def let_out(connection: Connection, version: int, percent: float, *, now: float, actor: str) -> None:
    """Tell the first ``percent`` of the devices of a version that passed its evaluation."""
    set_percent(connection, version, percent, now=now, actor=actor, reason="evaluation passed")


def recalibrate(connection: Connection, candidate: int, threshold: float, *, now: float, actor: str) -> int:
    """Publish a candidate's weights under the next number with another trigger threshold, in its place.

    An artifact is signed and digested with its threshold, and devices have judged this one: it is not changed.
    """
    artifact, optimizer_state = load_artifact(connection, candidate)
    known = published_model(connection, candidate)
    newest = connection.scalar(select(func.max(models.c.version))) or 0
    calibrated = msgspec.structs.replace(artifact, version=newest + 1, parent=candidate, threshold=threshold)
    if not add_model(
        connection,
        calibrated,
        optimizer_state=optimizer_state,
        round_id=None,
        now=now,
        participants=known.participants,
        examples=known.examples,
        update_norm=known.update_norm,
    ):
        raise ReleaseError("another version was published this moment: try again")
    _decide(connection, candidate, REPLACED, 0.0, f"calibrated: version {calibrated.version}", now)
    record(connection, now, actor, "calibrate", f"version {calibrated.version}: {candidate}, its threshold calibrated")
    return calibrated.version


def roll_back(connection: Connection, bad: int, *, now: float, actor: str, reason: str) -> int:
    """Withdraw ``bad`` and everything trained on top of it; publish the weights from before it. Returns the version.

    A round that is under way on a withdrawn base is abandoned in the same transaction; a selection has no base yet.

    Raises
    ------
    ReleaseError
        when ``bad`` is version 0, does not exist, or was withdrawn before.
    """
    if bad == 0:
        raise ReleaseError("version 0 is what everything is rolled back to")
    known = connection.scalar(select(rollouts.c.state).where(rollouts.c.version == bad))
    if known in GONE:
        raise ReleaseError(f"version {bad} was {known} already")
    running = [
        row
        for task in connection.scalars(select(rounds.c.task).distinct())
        for row in round_store.running_rounds(connection, task, lock=True)
    ]
    lineage = connection.execute(select(models.c.version, models.c.parent))
    parents = {row.version: row.parent for row in lineage}
    if bad not in parents:
        raise ReleaseError(f"there is no version {bad}: see `coordinator models`")
    tainted = {bad}
    for version, parent in sorted(parents.items()):
        if parent in tainted and version not in (0, bad):
            tainted.add(version)
    withdrawn = set(connection.scalars(select(rollouts.c.version).where(rollouts.c.state.in_(GONE))))
    good = parents[bad]
    while good in withdrawn and good != 0:
        good = parents[good]
    for version in sorted(tainted - withdrawn):
        _decide(connection, version, WITHDRAWN, 0.0, reason, now)
    for row in running:
        if row.plan is not None and row.base_version in tainted:
            round_store.move(connection, row, RoundEvent.STOPPED, now, reason=AbandonReason.OPERATOR, actor=actor)
    version = republish(connection, good, now=now)
    _decide(connection, version, LIVE, 100.0, f"again version {good}", now)
    record(connection, now, actor, "rollback", f"version {bad} withdrawn ({reason}); {version} is {good} again")
    return version


def republish(connection: Connection, source: int, *, now: float, above: int = 0) -> int:
    """Publish a version's weights and optimiser state again under the next number (higher than ``above``)."""
    artifact, optimizer_state = load_artifact(connection, source)
    newest = connection.scalar(select(func.max(models.c.version))) or 0
    again = msgspec.structs.replace(artifact, version=max(newest, above) + 1, parent=source)
    if not add_model(connection, again, optimizer_state=optimizer_state, round_id=None, now=now):
        raise ReleaseError("another version was published this moment: try again")
    return again.version


def pause_rounds(connection: Connection, paused: bool, *, now: float, actor: str) -> None:
    """The kill switch of learning: no further round opens until resumed; devices keep their model."""
    connection.execute(meta.delete().where(meta.c.name == _PAUSED))
    if paused:
        connection.execute(insert(meta).values(name=_PAUSED, value="1"))
    record(connection, now, actor, "pause" if paused else "resume", "rounds")


def rounds_paused(connection: Connection) -> bool:
    """Whether no further round may open."""
    return connection.scalar(_IS_PAUSED) is not None


def _decide(
    connection: Connection,
    version: int,
    state: str,
    percent: float,
    reason: str,
    now: float,
    arms: RolloutArms = RolloutArms.TREATMENT,
) -> None:
    values = {"state": state, "percent": percent, "arms": arms.value, "reason": reason[:64], "changed_at": now}
    if not connection.execute(update(rollouts).where(rollouts.c.version == version).values(**values)).rowcount:
        connection.execute(insert(rollouts).values(version=version, **values))
