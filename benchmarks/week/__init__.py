"""A week of operation in fast-forward; see :mod:`benchmarks.week.run` for what is real in it and what is simulated."""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import func, select

from benchmarks import BenchmarkError, Value
from benchmarks._workers import Workers
from benchmarks.postgresql_server import PostgresServer, PostgresUnavailableError
from benchmarks.week import taking_part
from benchmarks.week.run import FAULTY_FROM, START, Week, WeekSetting
from benchmarks.week.world import DAY, HOUR
from coordinator.experiments.evaluation import GateVerdict
from coordinator.operation.audit import newest_entries
from coordinator.releases import signing_keys
from coordinator.releases.evaluation_gate import evaluation_of
from coordinator.reports import Reports
from coordinator.settings import (
    CodecTarget,
    DeadlineSettings,
    MetricSettings,
    OperatorSettings,
    OptimizerSettings,
    PaceSettings,
    ReleaseSettings,
    RoundSettings,
    Settings,
)
from coordinator.storage.tables import models, rounds
from federated_protocol.plan import TrainingSetting
from federated_protocol.signing import Identity

DESCRIPTION = "a week of operation: 5,000 simulated devices, rollouts, a bad model, a key rotation, a restart"


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Live through a week, and say what happened."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks week", description=__doc__)
    parser.add_argument("--devices", type=int, default=5_000)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--postgresql", action="store_true", help="a server of its own, which crashes once; else SQLite"
    )
    parser.add_argument("--pictures", type=Path, help="photograph the dashboard of the last moment into this folder")
    cores = os.cpu_count() or 1
    parser.add_argument("--processes", type=int, default=max(1, cores - 1), help="in which devices sign and mask")
    options = parser.parse_args(argv)
    if options.devices < 200 or options.days <= 0 or options.processes < 1:
        parser.error("at least 200 devices, some time, and a process")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="week-")))
        server = None
        if options.postgresql:
            try:
                server = PostgresServer.start(folder)
            except PostgresUnavailableError as reason:
                raise BenchmarkError(str(reason)) from None
            stack.callback(server.stop)
        executor = stack.enter_context(ThreadPoolExecutor(2))
        posts = stack.enter_context(Workers(options.processes).posts())
        authority = Identity.generate()
        signing_keys.make_keys(folder / "offline", folder / "online", START, targets={})
        url = f"sqlite:///{folder / 'week.sqlite'}" if server is None else server.url
        setting = WeekSetting(
            settings=week_settings(authority, url, folder / "online"),
            folder=folder,
            devices=options.devices,
            days=options.days,
            seed=options.seed,
            server=server,
            stop_in_round=options.pictures is not None,
        )
        wall, processor = time.monotonic(), time.process_time()
        week = Week(setting, authority, executor, posts)
        stack.callback(lambda: week.coordinator.close())
        week.run()
        report = summary(week)
        report["wall_s"], report["processor_s"] = time.monotonic() - wall, time.process_time() - processor
        report["devices_processor_s"] = sum(post(taking_part.processor_s).result() for post in posts)
        report["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if options.pictures is not None:
            from benchmarks.week.pictures import photograph

            photograph(week.app, options.pictures)
    return report


def week_settings(authority: Identity, database_url: str, keys: Path, goal_count: int = 40) -> Settings:
    """Three trainings a day, each judged before it goes out; usage counted every four hours; two rollout stages."""
    return Settings(
        authority_public_key=authority.public_key.hex(),
        database_url=database_url,
        rounds=RoundSettings(
            goal_count=goal_count,
            minimum_count=goal_count // 2,
            smallest_aggregate=goal_count // 2,
            pause_s=8 * HOUR,
            settle_s=120.0,
        ),
        deadlines=DeadlineSettings(
            selecting_s=2 * HOUR, advertise_s=300.0, share_s=60.0, masked_input_s=60.0, confirm_s=60.0, unmask_s=60.0
        ),
        training=TrainingSetting(epochs=12, batch_size=16, learning_rate=0.3, weight_cap=40),
        codec=CodecTarget(clip=1.0, step=0.001, largest_count=4096),
        optimizer=OptimizerSettings(name="average", learning_rate=0.6, prior_weight=2.0),
        metrics=MetricSettings(analytics_every_s=4 * HOUR, holdback_percent=25.0, newest_versions=8),
        pace=PaceSettings(shortest_s=60.0, longest_s=12 * HOUR),
        releases=ReleaseSettings(
            keys=str(keys), rollout_stages=(25.0, 100.0), stage_s=3 * HOUR, evaluation_gate=True,
            evaluation_devices=goal_count // 2,
        ),
        operators=OperatorSettings(public_reports=True),
    )  # fmt: skip


def summary(week: Week) -> dict[str, Value]:
    """What the coordinator's own database says about the week."""
    coordinator = week.coordinator
    reports = Reports(coordinator.database, coordinator.settings)
    with coordinator.database.reading() as connection:
        ended = connection.execute(
            select(rounds.c.task, rounds.c.state, rounds.c.reason, func.count(), func.sum(rounds.c.inputs))
            .where(rounds.c.ended_at.is_not(None))
            .group_by(rounds.c.task, rounds.c.state, rounds.c.reason)
        ).all()
        decisions = newest_entries(connection, 1000)[::-1]
        versions = connection.scalar(select(func.count()).select_from(models)) or 0
        newest = connection.scalar(select(func.max(models.c.version))) or 0
        made = {
            row.version: row.created_at for row in connection.execute(select(models.c.version, models.c.created_at))
        }
    counts: Counter[str] = Counter()
    for entry in decisions:
        counts[entry.action] += 1
        counts["passed the gate"] += "evaluation passed" in entry.detail
    withdrawn: list[Mapping[str, Value]] = [
        {"day": (entry.at - START) / DAY, "what": entry.detail} for entry in decisions if entry.action == "rollback"
    ]
    after_fault = [entry for entry in decisions if entry.action == "rollback" and "dropped" in entry.detail]
    bad = next(iter(after_fault), None)
    bad_version = None if bad is None else int(bad.detail.split()[1])
    with coordinator.database.reading() as connection:  # of a calibrated version, the candidate was judged
        verdict = None if bad_version is None else evaluation_of(connection, coordinator.settings, bad_version)
    judged = {evaluation.version: evaluation for evaluation in reports.evaluations()}
    standing = [c for c in reports.comparisons() if c.verdict.value != "too_early"]
    last = standing[-1] if standing else None
    return {
        "devices": week.setting.devices,
        "days": week.setting.days,
        "check_ins": week.happened["check-ins"],
        "round_messages": week.happened["messages of rounds"],
        "devices_vanished": week.happened["devices vanished"],
        "rounds": [
            {"task": task, "end": reason or state, "rounds": number, "inputs": int(inputs or 0)}
            for task, state, reason, number, inputs in ended
        ],
        "versions": versions - 1,
        "no_number_missing_or_twice": versions - 1 == newest,
        "passed_the_gate": counts["passed the gate"],
        "stopped_by_the_gate": sum(not e.verdict.value.startswith(("passed", "too_few")) for e in judged.values()),
        "bad_version": bad_version,
        "bad_version_passed_the_gate": verdict is not None and verdict.verdict is GateVerdict.PASSED,
        "bad_version_made_on_day": None if bad_version is None else (made[bad_version] - START) / DAY,
        "faulty_app_from_day": FAULTY_FROM,
        "hours_until_rolled_back": None if bad is None else (bad.at - made[bad_version or 0]) / HOUR,
        "rolled_back": withdrawn,
        "keys_rotated": week.happened["keys rotated"],
        "signed_models_verified": week.happened["signed models verified"],
        "signed_models_refused": week.happened["signed models refused"],
        "restarts_inside_a_round": week.happened["restarts inside a round"],
        "requests_repeated": week.happened["requests repeated"],
        "last_compared_version": None if last is None else last.version,
        "its_ctr": None if last is None or last.ctr is None else last.ctr.value,
        "holdback_ctr": None if last is None or last.holdback_ctr is None else last.holdback_ctr.value,
        "its_clicks_retained": None if last is None or last.clicks_retained is None else last.clicks_retained.value,
        "its_verdict": None if last is None else last.verdict.value,
        "database": str(coordinator.database.engine.dialect.name),
    }
