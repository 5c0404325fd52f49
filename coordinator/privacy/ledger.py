"""Every released sum is charged, in the transaction that opens it; a round that would overspend does not start.

The charge is rho of zero-concentrated differential privacy, in closed form from the plan
(:func:`federated_protocol.privacy.charge`): unit the device, replaced by zero, and no amplification claimed, so every
release is charged to every device as if it had been in all of them. A task either carries noise and a budget, or the
label "no DP guarantee"; sums released under that label are counted, because no later noise takes them back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Connection, and_, func, insert, not_, select

from coordinator.operation.high_water import Spent, raising
from coordinator.releases.model_store import current_model, load_artifact
from coordinator.settings import Settings
from coordinator.storage.tables import meta, privacy_charges, rounds
from federated_protocol import wire
from federated_protocol.errors import CodecError, MalformedMessage
from federated_protocol.plan import NO_DP_GUARANTEE, AggregationSetting, Plan, PrivacySetting
from federated_protocol.privacy import USAGE_SCALES, charge, check_privacy, epsilon_of, largest_rho
from federated_protocol.update_codec import solve_codec

_EARLIER = "spent earlier/"


@dataclass(frozen=True, slots=True)
class Spending:
    """What the sums of one task have cost so far."""

    rhos: tuple[float, ...]
    """rho of every release with noise, oldest first."""
    without_noise: int
    """Sums released without any."""

    @property
    def rho(self) -> float:
        """Their sum; meaningless beside releases without noise."""
        return math.fsum(self.rhos)

    def epsilon(self, delta: float) -> float:
        """Epsilon spent at ``delta``, in closed form; infinite after a release without noise."""
        return math.inf if self.without_noise else epsilon_of(self.rho, delta)


def spending(connection: Connection, task: str) -> Spending:
    """Read the ledger of a task, with what an earlier life of this coordinator spent beyond it."""
    noisy = select(privacy_charges.c.rho).where(privacy_charges.c.task == task).order_by(privacy_charges.c.round_id)
    found = [float(rho) for rho in connection.scalars(noisy)]
    earlier = _earlier(connection, task)
    rhos = [rho for rho in (earlier.rho, *found) if rho > 0]
    return Spending(tuple(rhos), sum(rho == 0 for rho in found) + earlier.without_noise)


def spending_of_all(connection: Connection, settings: Settings) -> Spending:
    """The ledgers of a deployment's tasks together: a device may be in the sums of all of them."""
    found = [spending(connection, task) for task in settings.tasks]
    return Spending(tuple(rho for one in found for rho in one.rhos), sum(one.without_noise for one in found))


def charge_release(connection: Connection, round_id: int, plan: Plan, now: float, marks: Path | None = None) -> None:
    """Book the sum of a round, once; call it in the transaction that stores the opened sum.

    ``marks`` is the high-water file (:mod:`coordinator.operation.high_water`): raised before the transaction commits.
    """
    known = connection.scalar(
        select(func.count()).select_from(privacy_charges).where(privacy_charges.c.round_id == round_id)
    )
    if known:
        return
    rho = check_privacy(plan)
    connection.execute(insert(privacy_charges).values(round_id=round_id, task=plan.task, rho=rho, charged_at=now))
    if marks is not None:
        total = spending(connection, plan.task)
        with raising(marks) as found:
            spent = Spent(total.rho, total.without_noise)
            found.spent[plan.task] = spent.at_least(found.spent.get(plan.task, Spent()))


def book_missing(connection: Connection, spent: Mapping[str, Spent]) -> None:
    """Charge every task whose ledger adds up to less than ``spent`` with the difference."""
    for task, wanted in spent.items():
        known, earlier = spending(connection, task), _earlier(connection, task)
        rho = max(0.0, wanted.rho - known.rho)
        sums = max(0, wanted.without_noise - known.without_noise)
        if rho > 1e-12 * wanted.rho or sums:
            more = msgspec.json.encode(Spent(earlier.rho + rho, earlier.without_noise + sums)).decode()
            connection.execute(meta.delete().where(meta.c.name == _EARLIER + task))
            connection.execute(insert(meta).values(name=_EARLIER + task, value=more))


def _earlier(connection: Connection, task: str) -> Spent:
    value = connection.scalar(select(meta.c.value).where(meta.c.name == _EARLIER + task))
    return Spent() if value is None else msgspec.json.decode(value, type=Spent)


def affords(connection: Connection, settings: Settings, plan: Plan, cohorts: int = 1) -> bool:
    """Whether the budget bears a release like that of ``plan`` for each cohort; always, where nothing is guaranteed."""
    rho = check_privacy(plan)
    return rho == 0 or _affords(connection, settings, cohorts * rho, plan)


def overspends(connection: Connection, settings: Settings, *, usage: bool = False) -> bool:
    """Whether the next round could not be paid for: then none opens, and the reason is ``privacy_budget``.

    ``usage`` asks about a round that counts usage, else about one that trains.
    """
    if settings.privacy.noise_multiplier == 0:
        return False
    if usage:
        return not _affords(connection, settings, _next_usage_rho(settings))
    dimension = len(load_artifact(connection, current_model(connection).version)[0].weights) // 4
    return not _affords(connection, settings, _next_rho(settings, dimension))


def _affords(connection: Connection, settings: Settings, rho: float, plan: Plan | None = None) -> bool:
    privacy = settings.privacy
    spent = spending_of_all(connection, settings).rho + _under_way(connection, settings, plan)
    return spent + rho <= _budget(privacy.epsilon_budget, privacy.delta)


def _under_way(connection: Connection, settings: Settings, beside: Plan | None) -> float:
    """What rounds that run now will cost when their sums are opened: several tasks share the budget.

    ``beside`` leaves out the round of this plan, whose cohorts are counted together.
    """
    query = select(rounds.c.plan).where(
        rounds.c.task.in_(settings.tasks),
        rounds.c.ended_at.is_(None),
        rounds.c.plan.is_not(None),
        rounds.c.id.not_in(select(privacy_charges.c.round_id)),
    )
    if beside is not None:
        same = and_(rounds.c.task == beside.task, rounds.c.number == beside.round, rounds.c.attempt == beside.attempt)
        query = query.where(not_(same))
    return math.fsum(_cost(plan) for plan in connection.scalars(query))


def _cost(plan: bytes) -> float:
    try:
        return check_privacy(wire.decode(plan, Plan))
    except (MalformedMessage, CodecError):  # of another program version: it is abandoned, and opens nothing
        return 0.0


@functools.lru_cache(maxsize=16)
def _budget(epsilon: float, delta: float) -> float:
    return largest_rho(epsilon, delta)


@functools.lru_cache(maxsize=16)
def _next_rho(settings: Settings, dimension: int) -> float:
    """What the largest round would cost; the plans themselves are checked again when the cohorts are known."""
    from coordinator.privacy.planning import plan_noise
    from coordinator.rounds.cohorts import number_of_cohorts
    from coordinator.rounds.subset import coordinates_sent

    cohorts = number_of_cohorts(settings.most_selected, settings.rounds)
    cohort, codec = -(-settings.most_selected // cohorts), settings.codec
    aggregation = AggregationSetting(smallest_aggregate=settings.rounds.smallest_aggregate, largest_cohort=cohort)
    sent = coordinates_sent(codec, dimension)
    noise = plan_noise(settings, sent, aggregation)
    solved = solve_codec(sent, codec.clip, codec.step, bytes(32), 1, cohort, noise_sixteenths=noise)
    privacy = settings.privacy
    return cohorts * charge(solved, aggregation, PrivacySetting(privacy.delta, privacy.corrupt_fraction))


@functools.lru_cache(maxsize=16)
def _next_usage_rho(settings: Settings) -> float:
    """The same of a round that counts usage, with as many slots as there can be."""
    from coordinator.privacy.planning import usage_codec
    from coordinator.rounds.cohorts import number_of_cohorts

    cohorts = number_of_cohorts(settings.most_selected, settings.rounds)
    cohort = -(-settings.most_selected // cohorts)
    aggregation = AggregationSetting(settings.rounds.smallest_aggregate, cohort)
    slots = settings.metrics.newest_versions + 1
    codec = usage_codec(settings, slots * len(USAGE_SCALES), aggregation, bytes)
    privacy = settings.privacy
    return cohorts * charge(codec, aggregation, PrivacySetting(privacy.delta, privacy.corrupt_fraction))


def privacy_sentence(connection: Connection, settings: Settings, epsilon: float | None = None) -> str:
    """What the dashboard says about the privacy of the deployment's tasks together.

    Parameters
    ----------
    epsilon
        As ``dp-accounting`` has it; by default the closed form's.
    """
    privacy, spent = settings.privacy, spending_of_all(connection, settings)
    if privacy.noise_multiplier == 0:
        return NO_DP_GUARANTEE
    assumptions = (
        f"assuming at most {privacy.corrupt_fraction:.0%} of a cohort lie about their noise and each device counts once"
    )
    if spent.without_noise:
        return f"{NO_DP_GUARANTEE}: {spent.without_noise} sums were released before noise was switched on"
    value = spent.epsilon(privacy.delta) if epsilon is None else epsilon
    return f"epsilon {value:.2f} of {privacy.epsilon_budget:g} spent so far, at delta {privacy.delta:g}, {assumptions}"
