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

from coordinator.authority.directory import Authority, Renewals
from coordinator.authority.service import create_authority_app
from federated_protocol import signing
from federated_protocol.enrolment import issue
from federated_protocol.errors import CertificateRevoked
from federated_protocol.renewal import Renewal
from keyboard_app import VERSION
from keyboard_app.cli import LOG_FILE, main
from keyboard_app.device import DeviceIdentity, DevicePolicy, FixedConditions, IdentityError, ScheduleSetting
from keyboard_app.device.headless import HeadlessDevice, HeadlessSetting, TypingSetting
from keyboard_app.device.identity import HOLDBACK, Issued
from keyboard_app.device.replayed_owner import ReplayedOwner

ROOT = Path(__file__).parents[3]
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


CLOCK_AHEAD = [0.0]
"""Seconds by which the authority's clock is ahead of ours."""


@pytest.fixture
def authority_url(tmp_path: Path) -> Iterator[str]:
    CLOCK_AHEAD[0] = 0.0
    authority = Authority.create(tmp_path / "authority", name="test", insecure_demo=True)
    renewed = Renewals(tmp_path / "authority")
    app = create_authority_app(authority, ["let me in"], renewed, clock=lambda: time.time() + CLOCK_AHEAD[0])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_device_enrols_with_a_token_and_only_with_it(tmp_path: Path, authority_url: str) -> None:
    identity = DeviceIdentity.open(tmp_path / "device")
    with pytest.raises(IdentityError, match="ask for a new token"):
        identity.enrol(authority_url, "wrong", time.time())
    assert identity.certificate is None
    identity.enrol(authority_url, "let me in", time.time())
    assert identity.enrolment(time.time()).enrolled
    assert DeviceIdentity.open(tmp_path / "device").certificate == identity.certificate


def test_revocations_come_with_the_certificate_so_that_no_coordinator_can_withhold_the_first(
    tmp_path: Path, authority_url: str
) -> None:
    revoked = signing.Identity.generate()
    authority = Authority.load(tmp_path / "authority")
    certificate = authority.certify(revoked.public_key, time.time(), 30).encode()
    authority.keep_trust_list(
        tmp_path / "authority", authority.next_trust_list(time.time(), revoke=[revoked.fingerprint])
    )
    identity = DeviceIdentity.open(tmp_path / "device")
    identity.enrol(authority_url, "let me in", time.time())
    for found in (identity, DeviceIdentity.open(tmp_path / "device")):
        assert found.trust.serial == 1
        with pytest.raises(CertificateRevoked):
            found.trust.verify(certificate, time.time())


@pytest.fixture
def enrolled(tmp_path: Path, authority_url: str) -> DeviceIdentity:
    """In the holdback, where one key in twenty is: an arm that another key would hardly keep by chance."""
    identity = DeviceIdentity.open(tmp_path / "device")
    while identity.arm() != HOLDBACK:
        (tmp_path / "device" / "identity.key").unlink()
        identity = DeviceIdentity.open(tmp_path / "device")
    identity.enrol(authority_url, "let me in", time.time())
    return identity


def test_a_device_changes_its_key_before_the_certificate_ends_and_stays_in_its_arm(
    tmp_path: Path, authority_url: str, enrolled: DeviceIdentity
) -> None:
    now = time.time()
    assert not enrolled.renewal_due(now)
    assert enrolled.renewal_due(now + 300 * 86_400)
    assert not enrolled.renewal_due(now + 400 * 86_400), "an ended certificate vouches for nothing"
    former, trust = enrolled.fingerprint, enrolled.trust
    for _ in range(2):  # the second time, too, the arm is that of the first key of all
        CLOCK_AHEAD[0] += 300 * 86_400
        now = time.time() + CLOCK_AHEAD[0]
        before, before_certificate = enrolled.fingerprint, enrolled.certificate
        enrolled.renew(authority_url, now)
        assert before_certificate is not None
        assert trust.verify(before_certificate, now).fingerprint == before, "peers still accept the former key"
    for identity in (enrolled, DeviceIdentity.open(tmp_path / "device")):
        assert identity.fingerprint != former
        assert identity.enrolment(now).enrolled
        assert identity.arm() == HOLDBACK
        assert identity.trust.keys_at(now) == trust.keys_at(now)
        assert identity.certificate is not None
        assert trust.verify(identity.certificate, now).fingerprint == identity.fingerprint
    assert sorted(path.name for path in (tmp_path / "device").iterdir()) == ["certificate", "first.key", "identity.key"]


def test_a_crash_while_keys_are_changed_leaves_a_pair_that_belongs_together(
    tmp_path: Path, authority_url: str, enrolled: DeviceIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    CLOCK_AHEAD[0] = 300 * 86_400
    home, now, former = tmp_path / "device", time.time() + CLOCK_AHEAD[0], enrolled.fingerprint
    moves: list[Path] = []

    def crash_at(number: int) -> None:
        real = os.replace
        moves.clear()

        def replace(source: Path, target: Path) -> None:
            if Path(source).name in ("identity.next", "certificate.next"):
                moves.append(Path(source))
                if len(moves) == number:
                    raise OSError("power is gone")
            real(source, target)

        monkeypatch.setattr("keyboard_app.device.identity.os.replace", replace)

    crash_at(1)  # the key is not in place yet
    with pytest.raises(OSError, match="power"):
        enrolled.renew(authority_url, now)
    monkeypatch.undo()
    revived = DeviceIdentity.open(home)
    assert revived.fingerprint == former
    assert revived.enrolment(now).enrolled
    crash_at(2)  # the key is, its certificate is not
    with pytest.raises(OSError, match="power"):
        revived.renew(authority_url, now)
    monkeypatch.undo()
    again = DeviceIdentity.open(home)
    assert again.fingerprint != former
    assert again.enrolment(now).enrolled
    assert again.arm() == HOLDBACK


def test_an_answer_that_is_not_the_authoritys_changes_no_key(
    tmp_path: Path, authority_url: str, enrolled: DeviceIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, now = enrolled.fingerprint, time.time()
    foreign = signing.Identity.generate()

    def forged(url: str, renewal: Renewal, timeout_s: float) -> Issued:
        return Issued(issue(foreign, renewal.next_key, authority_name="x", not_before=0, not_after=2e9).encode())

    monkeypatch.setattr("keyboard_app.device.identity.request_renewal", forged)
    with pytest.raises(IdentityError, match="no certificate that counts"):
        enrolled.renew(authority_url, now)
    assert DeviceIdentity.open(tmp_path / "device").fingerprint == enrolled.fingerprint == former


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
        child.send_signal(signal.SIGTERM)
        output, errors = child.communicate(timeout=60)
        peer.close()
    assert child.returncode == 0
    assert "checking in" in output
    assert "Traceback" not in errors
    assert MARKER not in output + errors
    assert (tmp_path / "device" / LOG_FILE).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_does_not_interrupt_the_waiting_main_thread_ends_it_all_the_same(number: signal.Signals) -> None:
    """As when it comes between Python's last look for signals and the system call: here another thread takes it."""
    code = f"""
import signal, socket, threading
from keyboard_app.device.termination import exit_on

exit_on((signal.SIGTERM, signal.SIGINT))
silent, waiting = socket.socketpair()
threading.Timer(0.2, lambda: signal.pthread_kill(threading.get_ident(), {number:d})).start()
try:
    waiting.recv(1)
finally:
    signal.raise_signal({number:d})
    print("tidied up")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "tidied up", "")


def test_a_headless_device_loads_no_tensorflow_flask_kivy_nor_word_correction() -> None:
    code = (
        "import sys, keyboard_app.device.commands, keyboard_app.device.headless, keyboard_app.suggestions, "
        "keyboard_app.simulation.person, suggestion_model.training, federated_protocol.secure_aggregation; "
        "print([m for m in ('tensorflow', 'flask', 'kivy', 'symspellpy', 'rich', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
