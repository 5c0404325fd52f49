"""Nothing typed, and no unmasked update, ever leaves a device.

Text with rare markers is typed on a small fleet that takes part in real rounds with a real coordinator in a process of
its own. Everything that travels is recorded on the way; afterwards the recording, the coordinator's database and all
logs are searched for the markers, for the token ids of what was typed, and for the updates before they were masked.
"""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from data_logging import ImpressionLog
from federated_protocol import wire
from federated_protocol.messages import MaskedInput, Phase
from federated_protocol.plan import Plan, counter_names
from federated_protocol.secure_aggregation.uniformity import uniformity
from federated_protocol.update_codec import layout
from federated_protocol.vector_layout import VectorLayout, pack
from keyboard_app.device.local_training import Trained
from keyboard_app.device.local_work import Contribution, LocalWorker
from keyboard_app.simulation.coordinator_reports import CoordinatorReports
from keyboard_app.simulation.demo_programs import coordinator_settings
from keyboard_app.simulation.fleet import Fleet, FleetSetting
from keyboard_app.simulation.processes import Children, run_to_end, wait_for_file
from keyboard_app.simulation.progress import Reporter
from keyboard_app.simulation.splits import is_held_out
from suggestion_model.bundle import Bundle
from suggestion_model.features import Featurizer

pytestmark = pytest.mark.xdist_group("canary")

DEVICES = 8
ROUNDS = 2
MARKERS = ("xqzvkhummingbird", "wjqxzpetrichor", "vzkqwzugzwang")
"""Typed in every line; no other text in the world holds them."""
WANTED = "thai restaurants in oakland"
WINDOW = 24
"""Bytes; so long a piece of an update does not turn up by chance."""


@dataclass
class Evidence:
    """What a run left behind, and the secrets that must not be in it."""

    traffic: bytes = b""
    database: bytes = b""
    logs: bytes = b""
    stored_inputs: list[tuple[bytes, VectorLayout]] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)
    typed_contexts: list[str] = field(default_factory=list)
    last_version: int = 0

    def haystacks(self) -> Iterator[tuple[str, bytes]]:
        yield "traffic", self.traffic
        yield "database", self.database
        yield "logs", self.logs


def write_replay(path: Path) -> None:
    """Two weeks of lines that all hold a marker, some of which want a query."""
    people = [name for name in (f"canary {number}" for number in range(100)) if not is_held_out(name)][:DEVICES]
    rows = []
    for hour in range(14 * 6 + 1):
        stamp = datetime(2026, 5, 4, tzinfo=UTC) + timedelta(hours=4 * hour)
        for number, user in enumerate(people):
            marker = MARKERS[(hour + number) % len(MARKERS)]
            wants = hour % 3 == 0
            text = f"{marker} thai restaurants in oakland please" if wants else f"my {marker} sleeps in oakland today"
            rows.append(
                {
                    "user": user,
                    "conversation": f"{user} {hour}",
                    "timestamp": stamp.isoformat(),
                    "text": text,
                    "reply_to": f"how is {marker}?",
                    "kind": "task",
                    "wanted": [WANTED] if wants else [],
                    "topic": "restaurants",
                }
            )
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory, make_proxy: Callable[[], Any]) -> Evidence:
    """Run a whole small federation and collect what it left."""
    folder = tmp_path_factory.mktemp("canary")
    found = Evidence()
    write_replay(folder / "replay.jsonl.gz")
    database = folder / "coordinator.sqlite"
    proxy = make_proxy()
    with Children() as children, pytest.MonkeyPatch.context() as patch:
        spy_on_workers(patch, found)
        run_to_end(
            "authority", command("coordinator.authority.cli", "init", folder / "a", "--insecure-demo"), folder / "l"
        )
        issue = command(
            "coordinator.authority.cli", "issue", folder / "a", "--count", DEVICES, "--out", folder / "devices"
        )
        run_to_end("authority", issue, folder / "l")
        serve = command("coordinator.cli", "serve", "--port", 0, "--port-file", folder / "port", "--database", database)
        serve += ["--authority-public-key", str(folder / "a" / "public.key")]
        for setting in coordinator_settings(DEVICES, ROUNDS):
            serve += ["--set", setting]
        coordinator = children.start("coordinator", serve, folder / "coordinator.log")
        url = f"http://127.0.0.1:{wait_for_file(folder / 'port', coordinator, 60)}"
        reports = CoordinatorReports(url)
        reports.wait_until_ready(60, coordinator.check)
        spoken = io.BytesIO()
        fleet = Fleet(
            FleetSetting(
                coordinator_url=proxy(url),
                identities=folder / "devices",
                replay=folder / "replay.jsonl.gz",
                catalog=None,
                devices=DEVICES,
                rounds=ROUNDS,
                mode="line",
                smallest_aggregate=4,
            ),
            Reporter(spoken),
        )
        fleet.run()
        found.last_version = reports.status().model.version
        pages = [reports.url + page for page in ("/", "/admin/page")]
        coordinator.stop()
        found.logs = coordinator.log.read_bytes() + spoken.getvalue() + " ".join(pages).encode()
    found.traffic = proxy.captured
    found.database = b"".join(path.read_bytes() for path in folder.glob("coordinator.sqlite*"))
    found.stored_inputs = list(stored_inputs(database))
    for home in (folder / "devices").iterdir():
        with closing(ImpressionLog(home / "log.sqlite", clock=lambda: 0.0)) as log:  # nothing expires
            found.typed_contexts += [row.impression.context for row in log.impressions()]
    return found


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def spy_on_workers(patch: pytest.MonkeyPatch, found: Evidence) -> None:
    """Keep a copy of every update as it is before encoding and before masking; the devices notice nothing."""
    contribute = LocalWorker.contribute

    def watched(worker: LocalWorker, plan: Plan, model: object, trained: Trained, *judged: object) -> Contribution:
        made = contribute(worker, plan, model, trained, *judged)  # type: ignore[arg-type]
        found.trained.append(trained)
        found.contributions.append(made)
        return made

    patch.setattr(LocalWorker, "contribute", watched)


def stored_inputs(database: Path) -> Iterator[tuple[bytes, VectorLayout]]:
    """Every masked input as the coordinator keeps it, with its layout."""
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute(
            "SELECT m.payload, r.plan FROM messages m JOIN rounds r ON r.id = m.round_id WHERE m.phase = ?",
            (Phase.MASKED_INPUT.value,),
        ).fetchall()
    for payload, encoded in rows:
        plan = msgspec.msgpack.decode(encoded, type=Plan)
        message: MaskedInput = wire.decode(payload, MaskedInput, limit_bytes=1 << 23)
        yield message.packed, layout(plan.codec, len(counter_names(plan.metrics)))


def telling_pieces(raw: bytes) -> list[bytes]:
    """Pieces of a byte string that are varied enough to prove that it is there."""
    pieces = [raw[at : at + WINDOW] for at in range(0, len(raw) - WINDOW, 7)]
    return [piece for piece in pieces if len(set(piece)) > WINDOW // 2]


def test_the_run_was_real(evidence: Evidence) -> None:
    """Otherwise the searches below would find nothing in nothing."""
    assert evidence.last_version == ROUNDS
    assert len(evidence.stored_inputs) == DEVICES * ROUNDS
    assert any(trained.examples > 0 and np.abs(trained.delta).max() > 0 for trained in evidence.trained)
    assert any(any(marker in context for marker in MARKERS) for context in evidence.typed_contexts)
    assert b"/v1/check-in" in evidence.traffic
    assert b"masked_input" in evidence.traffic
    assert evidence.stored_inputs[0][0] in evidence.database or len(evidence.database) > 100_000
    assert len(evidence.logs) > 1_000


def test_no_marker_left_a_device(evidence: Evidence) -> None:
    for name, haystack in evidence.haystacks():
        folded = haystack.lower()
        for marker in MARKERS:
            spellings = (marker.encode(), marker.encode("utf-16-le"), marker.encode().hex().encode())
            assert not any(spelling in folded for spelling in spellings), f"{name} holds a marker"
        for words in (b"sleeps in", b"restaurants in oakland"):
            assert words not in folded, f"{name} holds typed words"


def test_no_list_of_token_ids_left_a_device(evidence: Evidence) -> None:
    tokenizer = Featurizer(Bundle.shipped()).tokenizer
    lines = {line for context in evidence.typed_contexts for line in context.split("\n")}
    assert lines
    for line in lines:
        ids = [int(piece) for piece in tokenizer.padded(line, 32, keep="last") if piece][-8:]
        if len(ids) < 5:
            continue
        spellings = [np.array(ids, kind).tobytes() for kind in ("<i4", ">i4", "<i8", "<u2", ">u2")]
        spellings += [msgspec.msgpack.encode(ids)[1:], json.dumps(ids)[1:-1].encode()]
        spellings.append(json.dumps(ids, separators=(",", ":"))[1:-1].encode())
        for name, haystack in evidence.haystacks():
            assert not any(spelling in haystack for spelling in spellings), f"{name} holds token ids"


def test_no_unmasked_update_left_a_device(evidence: Evidence) -> None:
    searched = 0
    for trained, made in zip(evidence.trained, evidence.contributions, strict=True):
        raws = (trained.delta.tobytes(), made.vector.astype("<u4").tobytes(), pack(made.vector, made.layout))
        for raw in raws:
            pieces = telling_pieces(raw)[:40]
            searched += len(pieces)
            for name, haystack in evidence.haystacks():
                assert not any(piece in haystack for piece in pieces), f"{name} holds a piece of an unmasked update"
    assert searched > 100


def test_the_search_would_find_an_unmasked_update(evidence: Evidence) -> None:
    made = max(evidence.contributions, key=lambda each: len(telling_pieces(pack(each.vector, each.layout))))
    leaked = evidence.traffic + pack(made.vector, made.layout)
    assert any(piece in leaked for piece in telling_pieces(pack(made.vector, made.layout))[:40])


def test_every_input_the_coordinator_stores_looks_uniform(evidence: Evidence) -> None:
    for packed, shape in evidence.stored_inputs:
        assert uniformity(packed, shape).plausible()


def test_an_unmasked_input_does_not_look_uniform(evidence: Evidence) -> None:
    """The companion of the test above: it would fail, had a device not masked its input."""
    for made in evidence.contributions:
        assert not uniformity(pack(made.vector, made.layout), made.layout).plausible()
