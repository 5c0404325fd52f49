"""The gate between a version and the first device that ranks with it: what its evaluation's sum says decides.

A training round can only guess a version's trigger threshold, from scores of the model it started from. The evaluation
scores with the version itself, so where its histograms hold enough clicks (``metrics.smallest_click_mass``) they set
the threshold that keeps ``metrics.keep_clicks`` of them: a version whose own is off by half a bin or more goes out
under the next number, with the same weights and that threshold.

A version that is made while the gate is on is a *candidate*: signed and fetched by devices that judge it, told to
nobody for ranking. It is let out to the first rollout stage, or withdrawn like a version that harmed; one that could
not be judged within ``releases.evaluation_patience_s`` is withdrawn too, so that learning goes on.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from coordinator.experiments import metric_store
from coordinator.experiments.evaluation import Evaluation, GateVerdict, evaluate
from coordinator.operation.audit import AUTOMATIC
from coordinator.releases.model_store import published_model
from coordinator.releases.rollout import REPLACED, awaiting_evaluation, let_out, recalibrate, roll_back
from coordinator.settings import Settings
from coordinator.storage import round_store
from coordinator.storage.tables import rollouts, rounds
from federated_protocol import wire
from federated_protocol.plan import Plan


def evaluation_of(connection: Connection, settings: Settings, version: int) -> Evaluation | None:
    """The newest evaluation of a version, or of the candidate it replaced; None while no sum judged it."""
    query = (
        select(rounds.c.id)
        .where(rounds.c.task == settings.evaluation_task, rounds.c.base_version == version)
        .where(rounds.c.unmasked.is_not(None), rounds.c.plan.is_not(None))
        .order_by(rounds.c.id.desc())
    )
    for round_id in connection.scalars(query):
        row = round_store.round_by_id(connection, round_id)
        cohorts = [] if row is None else round_store.cohorts_of(connection, row)
        sums = metric_store.added_sums(connection, [cohort.id for cohort in cohorts])
        if row is not None and row.plan is not None and sums:
            break
    else:
        parent = published_model(connection, version).parent
        replaced = select(rollouts.c.version).where(rollouts.c.version == parent, rollouts.c.state == REPLACED)
        return None if connection.scalar(replaced) is None else evaluation_of(connection, settings, parent)
    plan: Plan = wire.decode(row.plan, Plan)
    assert plan.baseline is not None
    judged, baseline = (published_model(connection, v) for v in (version, plan.baseline.version))
    metrics, releases = settings.metrics, settings.releases
    return evaluate(
        sums,
        plan.metrics.score_edges,
        plan.metrics.propensity_scale,
        versions=(version, baseline.version),
        thresholds=(judged.threshold, baseline.threshold),
        keep_clicks=metrics.keep_clicks,
        smallest_click_mass=metrics.smallest_click_mass,
        fewest_devices=releases.evaluation_devices,
        level=metrics.confidence,
    )


def settle(connection: Connection, settings: Settings, version: int, now: float) -> GateVerdict | None:
    """Act on a version's newest evaluation, in the caller's transaction; None when it is no candidate any more."""
    if awaiting_evaluation(connection) != version:
        return None
    found = evaluation_of(connection, settings, version)
    verdict = GateVerdict.TOO_FEW if found is None else found.verdict
    if found is not None and verdict is GateVerdict.PASSED:
        threshold = found.judged.best_threshold
        change = abs(threshold - published_model(connection, version).threshold)
        if change >= settings.metrics.score_step / 2:
            version = recalibrate(connection, version, threshold, now=now, actor=AUTOMATIC)
        let_out(connection, version, settings.releases.rollout_stages[0], now=now, actor=AUTOMATIC)
    elif verdict is not GateVerdict.TOO_FEW:
        roll_back(connection, version, now=now, actor=AUTOMATIC, reason=verdict.value)
    return verdict


def overdue(connection: Connection, settings: Settings, now: float) -> int | None:
    """The candidate that waited too long for its evaluation, unless a cohort is judging it this moment."""
    before = now - settings.releases.evaluation_patience_s
    waiting = awaiting_evaluation(connection) if settings.releases.evaluation_gate else None
    if waiting is None or published_model(connection, waiting).created_at > before:
        return None
    running = round_store.running_rounds(connection, settings.evaluation_task)
    return None if any(row.plan is not None for row in running) else waiting


def give_up(connection: Connection, settings: Settings, now: float) -> int | None:
    """Withdraw an overdue candidate; the version that took its place, or None."""
    candidate = overdue(connection, settings, now)
    if candidate is None:
        return None
    return roll_back(connection, candidate, now=now, actor=AUTOMATIC, reason="not evaluated in time")
