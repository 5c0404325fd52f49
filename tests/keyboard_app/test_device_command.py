"""The headless device as a process, its enrolment over HTTP, and its simulated owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server

from coordinator.authority.directory import Authority
from coordinator.authority.service import create_authority_app
from federated_protocol import signing
from federated_protocol.enrolment import issue
from keyboard_app import VERSION
from keyboard_app.cli import LOG_FILE, main
from keyboard_app.device import DeviceIdentity, DevicePolicy, FixedConditions, IdentityError, ScheduleSetting
from keyboard_app.device.headless import HeadlessDevice, HeadlessSetting, TypingSetting
from keyboard_app.device.replayed_owner import ReplayedOwner

ROOT = Path(__file__).parent.parent.parent
MARKER = "xylophonequux"
CATALOG = "query,category\nthai restaurants in oakland,restaurants\nflights to denver,travel\n"


def write_replay(path: Path, lines: int = 40) -> Path:
    """Four people over eight days; every line carries a rare marker."""
    with path.open("w") as file:
        for number in range(lines):
            stamp = f"2026-01-{1 + number * 8 // lines:02d}T{number % 24:02d}:00:{number % 60:02d}+00:00"
            line = {
                "user": f"person-{number % 4}",
                "conversation": f"c{number}",
                "timestamp": stamp,
                "text": f"any thai restaurants in oakland {MARKER}",
                "kind": "task",
                "wanted": ["thai restaurants in oakland"],
                "topic": "restaurants",
            }
            file.write(json.dumps(line) + "\n")
    path.write_text("\n".join(sorted(path.read_text().splitlines(), key=lambda raw: json.loads(raw)["timestamp"])))
    return path


@pytest.fixture
def authority_url(tmp_path: Path) -> Iterator[str]:
    authority = Authority.create(tmp_path / "authority", name="test", insecure_demo=True)
    server = make_server("127.0.0.1", 0, create_authority_app(authority, ["let me in"]), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_device_enrols_with_a_token_and_only_with_it(tmp_path: Path, authority_url: str) -> None:
    identity = DeviceIdentity.open(tmp_path / "device")
    with pytest.raises(IdentityError, match="ask for a new one"):
        identity.enrol(authority_url, "wrong")
    assert identity.certificate is None
    identity.enrol(authority_url, "let me in")
    assert identity.enrolment(time.time()).enrolled
    assert DeviceIdentity.open(tmp_path / "device").certificate == identity.certificate


def make_setting(tmp_path: Path, speed: float = 0.0) -> HeadlessSetting:
    (tmp_path / "catalog.csv").write_text(CATALOG)
    return HeadlessSetting(
        tmp_path / "device",
        "http://127.0.0.1:9",
        DevicePolicy().demo(4),
        FixedConditions(),
        ScheduleSetting.demo(),
        typing=TypingSetting(write_replay(tmp_path / "replay.jsonl"), catalog=tmp_path / "catalog.csv", speed=speed),
    )


def test_a_replay_is_typed_once_even_when_the_device_starts_again(tmp_path: Path) -> None:
    setting = make_setting(tmp_path)
    first = HeadlessDevice(setting)
    owner = first.owner
    assert owner is not None
    assert owner.lines > 0
    while owner.step() is not None:
        pass
    lines = sum(row.lines for row in first.log.usage_unreported())
    assert lines == owner.typed == owner.lines
    first.close()
    again = HeadlessDevice(setting)
    assert again.owner is not None
    assert again.owner.step() is None
    assert sum(row.lines for row in again.log.usage_unreported()) == lines
    again.close()
    assert MARKER.encode() not in (tmp_path / "device" / "replay.json").read_bytes()


def test_lines_come_at_a_multiple_of_their_own_pace(tmp_path: Path) -> None:
    device = HeadlessDevice(make_setting(tmp_path))
    built = device.owner
    assert built is not None
    now = [0.0]
    (tmp_path / "device" / "replay.json").unlink(missing_ok=True)
    owner = ReplayedOwner(
        built._person, "someone", built._lines, tmp_path / "progress.json", 3600.0, monotonic=lambda: now[0]
    )
    wait = owner.step()
    assert owner.typed == 1
    gap = built._lines[1].time - built._lines[0].time
    assert wait == pytest.approx(gap / 3600.0)
    now[0] += wait or 0.0
    owner.step()
    assert owner.typed == 2
    device.close()


def test_limits_are_checked_before_anything_starts(tmp_path: Path) -> None:
    runner = CliRunner()
    low = runner.invoke(main, ["device", "--coordinator", "http://x", "--home", str(tmp_path), "--policy-floor", "3"])
    assert low.exit_code == 2
    assert "--insecure-demo" in low.output
    lonely = runner.invoke(main, ["device", "--coordinator", "http://x", "--home", str(tmp_path), "--token", "t"])
    assert lonely.exit_code == 2
    nowhere = runner.invoke(main, ["device", "--coordinator", "somewhere", "--home", str(tmp_path)])
    assert nowhere.exit_code == 1
    assert "http://host:port" in nowhere.output
    root = tmp_path / "root.json"
    root.write_text('{"signed": {"_type": "root", "x-insecure-demo": true}}')
    unpinned = runner.invoke(
        main, ["device", "--coordinator", "http://x", "--home", str(tmp_path / "d"), "--release-root", str(root)]
    )
    assert unpinned.exit_code == 1
    assert "INSECURE DEMO" in unpinned.output


def test_the_version_told_with_each_check_in_is_the_projects() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def start(tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    (tmp_path / "catalog.csv").write_text(CATALOG)
    identity = DeviceIdentity.open(tmp_path / "device")
    certificate = issue(
        signing.Identity.generate(), identity.public_key, authority_name="t", not_before=0.0, not_after=4e9
    )
    (tmp_path / "certificate").write_bytes(certificate.encode())
    arguments = [
        "-m", "keyboard_app.cli", "device", "--home", str(tmp_path / "device"), "--insecure-demo",
        "--certificate", str(tmp_path / "certificate"), "--replay", str(write_replay(tmp_path / "replay.jsonl")),
        "--catalog", str(tmp_path / "catalog.csv"), "--speed", "0", *more,
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_terminated_device_ends_at_once_even_inside_a_request_and_has_said_nothing_typed(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        child = start(tmp_path, "--coordinator", f"http://127.0.0.1:{silent.getsockname()[1]}")
        peer, _ = silent.accept()
        assert peer.recv(65536).startswith(b"POST /v1/check-in")
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        output, errors = child.communicate(timeout=10)
        assert time.monotonic() - began < 2.0
        peer.close()
    assert child.returncode == 0
    assert "checking in" in output
    assert "Traceback" not in errors
    assert MARKER not in output + errors
    assert (tmp_path / "device" / LOG_FILE).exists()


def test_a_headless_device_loads_no_tensorflow_flask_kivy_nor_word_correction() -> None:
    code = (
        "import sys, keyboard_app.device.commands, keyboard_app.device.headless, keyboard_app.suggestions, "
        "keyboard_app.simulation.person, suggestion_model.training, federated_protocol.secure_aggregation; "
        "print([m for m in ('tensorflow', 'flask', 'kivy', 'symspellpy', 'rich', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
