"""What one coordinator process takes in: check-ins a second, uploads of 100 kB a second, on SQLite and PostgreSQL.

Every request is signed beforehand, distinct, and verified, decoded and stored by the server as in production.
"""

from __future__ import annotations

import argparse
import queue
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import urllib3

from benchmarks import BenchmarkError, Value
from benchmarks._loopback import coordinator
from benchmarks.postgresql_server import PostgresServer, PostgresUnavailableError
from coordinator.settings import CodecTarget, DeadlineSettings, RoundSettings, Settings
from coordinator.storage import Database, round_store
from coordinator.storage.tables import participants, rounds
from federated_protocol import wire
from federated_protocol.enrolment import issue
from federated_protocol.messages import CheckIn, MaskedInput, Phase
from federated_protocol.plan import PROTOCOL_VERSION
from federated_protocol.signing import CHECK_IN, Identity, sign
from federated_protocol.vector_layout import VectorLayout, pack

DESCRIPTION = "check-ins and 100 kB uploads a second, p99, on SQLite and PostgreSQL"
DIMENSION = 62_000
"""Packs to about 100 kB."""


@dataclass(frozen=True)
class Rate:
    """Requests of one kind."""

    a_second: float
    p50_ms: float
    p99_ms: float
    refused: int


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Measure both databases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks api", description=__doc__)
    parser.add_argument("--check-ins", type=int, default=1500)
    parser.add_argument("--uploads", type=int, default=300)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    options = parser.parse_args(argv)
    found: dict[str, Value] = {"check_ins": options.check_ins, "uploads": options.uploads}
    if options.database in ("sqlite", "both"):
        with tempfile.TemporaryDirectory(prefix="api-") as folder:
            found["sqlite"] = _measure(f"sqlite:///{folder}/coordinator.sqlite", Path(folder), options)
    if options.database in ("postgresql", "both"):
        with tempfile.TemporaryDirectory(prefix="api-") as folder:
            try:
                server = PostgresServer.start(Path(folder))
            except PostgresUnavailableError as reason:
                print(f"postgresql: {reason}", file=sys.stderr)
                found["postgresql"] = None
            else:
                try:
                    found["postgresql"] = _measure(server.url, Path(folder), options)
                finally:
                    server.stop()
    return found


def _measure(url: str, folder: Path, options: argparse.Namespace) -> dict[str, Value]:
    authority = Identity.generate()
    settings = Settings(
        authority_public_key=authority.public_key.hex(),
        database_url=url,
        rounds=RoundSettings(goal_count=2000, minimum_count=20, overselect=1.0, smallest_aggregate=20, settle_s=600),
        deadlines=DeadlineSettings(600.0, 600.0, 600.0, 600.0, 600.0),
    )
    devices = [Identity.generate() for _ in range(max(options.check_ins, options.uploads))]
    now = time.time()
    check_ins = []
    for device in devices[: options.check_ins]:
        certificate = issue(
            authority, device.public_key, authority_name="b", not_before=now - 60, not_after=now + 86400
        ).encode()
        message = CheckIn(PROTOCOL_VERSION, "benchmark", certificate, secrets.token_bytes(16), now, True)
        check_ins.append(("/v1/check-in", wire.encode(sign(message, CHECK_IN, "", device))))
    with coordinator(settings, folder, DIMENSION) as served:
        cpu = served.cpu_s()
        arrivals = _run(served.url, check_ins, options.connections)
        check_in_cpu = served.cpu_s() - cpu
        database = Database(url)
        uploads = _collecting(database, settings.task, devices[: options.uploads])
        cpu = served.cpu_s()
        stored = _run(served.url, uploads, options.connections)
        result: dict[str, Value] = {
            "check_ins_per_s": arrivals.a_second,
            "check_in_p50_ms": arrivals.p50_ms,
            "check_in_p99_ms": arrivals.p99_ms,
            "check_in_cpu_ms": 1000 * check_in_cpu / len(check_ins),
            "check_ins_refused": arrivals.refused,
            "upload_kb": len(uploads[0][1]) / 1000,
            "uploads_per_s": stored.a_second,
            "upload_p50_ms": stored.p50_ms,
            "upload_p99_ms": stored.p99_ms,
            "upload_cpu_ms": 1000 * (served.cpu_s() - cpu) / len(uploads),
            "uploads_refused": stored.refused,
            "peak_rss_mib": served.peak_rss_mib(),
        }
        database.close()
    return result


def _collecting(database: Database, task: str, devices: list[Identity]) -> list[tuple[str, bytes]]:
    """Put the round into the phase of masked inputs, as if all had advertised and shared; returns the uploads.

    The keys and shares of so many devices are not what is measured here.
    """
    from coordinator.experiments.click_through import metric_slots
    from coordinator.releases.model_store import current_model
    from coordinator.rounds import planning

    with database.writing() as connection:
        row = round_store.running_round(connection, task, lock=True)
        if row is None:
            raise BenchmarkError("no round is open")
        settings = Settings(
            authority_public_key="00" * 32, rounds=RoundSettings(goal_count=2000), codec=CodecTarget(most_sent=0)
        )
        base = current_model(connection)
        slots = metric_slots(base.version, settings.metrics.newest_versions)
        plan = planning.make_plan(settings, row, base, DIMENSION, len(devices), secrets.token_bytes, slots=slots)
        encoded = planning.encode_plan(plan)
        connection.execute(participants.delete().where(participants.c.round_id == row.id))
        members = [
            {"round_id": row.id, "device": device.fingerprint, "public_key": device.public_key,
             "certificate": b"", "joined_at": 0.0, "position": place}
            for place, device in enumerate(devices, start=1)
        ]  # fmt: skip
        connection.execute(participants.insert(), members)
        n = len(devices)
        connection.execute(
            rounds.update()
            .where(rounds.c.id == row.id)
            .values(
                state="collecting", plan=encoded, plan_digest=planning.digest(encoded), still_in=n + 1, quorum=20,
                selected=n, advertised=n, shared=n, neighbours=n - 1, threshold=n // 2 + 1,
                root=secrets.token_bytes(32), deadline=time.time() + 600,
            )
        )  # fmt: skip
        row = round_store.running_round(connection, task)
        assert row is not None
    layout = planning.vector_layout(plan)
    binding = planning.binding_of(row, Phase.MASKED_INPUT)
    path = f"/v1/sessions/{row.session}/{Phase.MASKED_INPUT.value}"
    messages = ((MaskedInput(_random_vector(layout)), device) for device in devices)
    return [
        (path, wire.encode(sign(message, Phase.MASKED_INPUT, row.session, device, binding)))
        for message, device in messages
    ]


def _random_vector(layout: VectorLayout) -> bytes:
    vector = np.frombuffer(secrets.token_bytes(4 * layout.length), np.uint32).copy()
    layout.reduce(vector)
    return pack(vector, layout)


def _run(url: str, requests: list[tuple[str, bytes]], connections: int) -> Rate:
    """Send all requests over so many connections kept open."""
    waiting: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)
    times: list[float] = []
    refused: list[int] = []

    def work() -> None:
        pool = urllib3.PoolManager(maxsize=1, retries=False)
        headers = {"Content-Type": wire.CONTENT_TYPE}
        while True:
            try:
                path, body = waiting.get_nowait()
            except queue.Empty:
                return
            begun = time.perf_counter()
            answer = pool.request("POST", url + path, body=body, headers=headers)
            times.append(time.perf_counter() - begun)
            if answer.status != 200:
                refused.append(answer.status)

    begun = time.perf_counter()
    _all_at_once(work, connections)
    elapsed = time.perf_counter() - begun
    p50, p99 = np.percentile(np.array(times) * 1000, [50, 99])
    return Rate(len(times) / elapsed, float(p50), float(p99), len(refused))


def _all_at_once(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
