"""The commands as processes: they serve, say where, stop cleanly, and what they import stays small."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import urllib3

from coordinator.authority import Authority
from coordinator.web.admin_api import LivePage

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def start(*arguments, port_file):
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments), "--port", "0", "--port-file", str(port_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        cwd=port_file.parent,
    )
    line = process.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:"), line + process.stderr.read()
    assert line.strip().endswith(f":{port_file.read_text().strip()}")
    return process, line.split()[-1]


def stop(process):
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    return output + errors


@pytest.fixture
def authority_folder(tmp_path):
    Authority.create(tmp_path / "authority", "test", insecure_demo=True)
    return tmp_path / "authority"


@pytest.fixture
def bundle_is_there():
    from suggestion_model.bundle import Bundle

    return Bundle.shipped()


def test_the_coordinator_serves_devices_and_people_and_keeps_its_versions(tmp_path, authority_folder, bundle_is_there):
    arguments = (
        *("coordinator.cli", "serve", "--small-demo", "--database", tmp_path / "c.sqlite"),
        *("--authority-public-key", authority_folder / "public.key"),
    )
    digests = []
    for _ in range(2):
        process, url = start(*arguments, port_file=tmp_path / "port")
        try:
            assert urllib3.request("GET", url + "/v1/health").json() == {"status": "ok", "model_version": 0}
            deadline = time.monotonic() + 60
            while (status := urllib3.request("GET", url + "/admin/status").json())["running"] is None:
                assert time.monotonic() < deadline  # the ticker opens the first round
            assert status["running"]["state"] == "selecting"
            digests.append(status["model"]["digest"])
            page = urllib3.request("GET", url + "/")
            assert b"http://" not in page.data.replace(b"http://www.w3.org", b"")
            for name in ("dashboard.css", "overview.js", "uplot/uPlot.iife.min.js"):
                assert f"/static/{name}".encode() in page.data
                assert urllib3.request("GET", f"{url}/static/{name}").status == 200
            stream = urllib3.request("GET", url + "/admin/events", preload_content=False, timeout=60)
            first = next(stream.stream(64_000)).decode()
            assert json.loads(first.removeprefix("data: ").split("\n\n")[0])["status"]["task"] == "query-suggestions"
        finally:
            errors = stop(process)  # the stream is still open: it does not hold the process
        assert "INSECURE DEMO" in errors
    assert digests[0] == digests[1] == bundle_digest_of(tmp_path / "c.sqlite")


def bundle_digest_of(database):
    command = [sys.executable, "-m", "coordinator.cli", "models", "--json", "--database", str(database)]
    (model,) = json.loads(subprocess.run(command, capture_output=True, check=True, env=ENVIRONMENT).stdout)
    return model["digest"]


def test_the_authority_serves_and_stops(tmp_path, authority_folder):
    process, url = start(
        "coordinator.authority.cli", "serve", authority_folder, "--token", "t", port_file=tmp_path / "port"
    )
    try:
        answer = urllib3.request("POST", url + "/v1/certificates", json={"public_key": "ab" * 32, "token": "t"})
        assert len(bytes.fromhex(answer.json()["certificate"])) > 100
    finally:
        stop(process)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve"], "authority_public_key is not set"),
        (["serve", "--authority-public-key", "nonsense"], "authority init"),
        (["serve", "--authority-public-key", "ab" * 32, "--set", "rounds.goal_count=1"], "minimum_count"),
        (["serve", "--authority-public-key", "ab" * 32, "--database", "broken.sqlite"], "aside"),
        (["rounds", "--database", "none.sqlite"], "there is no database"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(tmp_path, bundle_is_there, arguments, says):
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all" * 100)
    command = [sys.executable, "-m", "coordinator.cli", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert result.returncode == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("program", ["coordinator.cli", "coordinator.authority.cli"])
def test_a_port_that_somebody_has_is_said_in_one_line(tmp_path, bundle_is_there, authority_folder, program):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        what = [authority_folder, "--token", "t"] if "authority" in program else ["--authority-public-key", "ab" * 32]
        command = [sys.executable, "-m", program, "serve", *what, "--port", str(taken.getsockname()[1])]
        result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert result.returncode == 1
    assert "give another --host or --port" in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2  # the other one is the demo's warning


def test_starting_imports_neither_learning_runtime_nor_the_authority():
    code = (
        "import sys; import coordinator.app, coordinator.cli; "
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'ai_edge_litert', 'kivy', 'keyboard_app')"
        " or m.startswith('coordinator.authority')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert result.stdout.strip() == "[]"


def test_the_reports_show_rounds_dropouts_bytes_and_both_arms(deployment):
    from federated_protocol.messages import Phase

    deployment.run_round(deployment.select(10), vanish={Phase.SHARE: 3})
    page = deployment.app.test_client().get("/admin/page")
    shown = __import__("msgspec").json.decode(page.data, type=LivePage)
    (report,) = shown.rounds
    assert (report.state, report.selected, report.inputs, report.published_version) == ("published", 10, 7, 1)
    assert report.dropouts == {"advertise": 0, "share": 3, "masked_input": 0, "confirm": 0, "unmask": 0}
    assert report.bytes_up > 10 * 100
    assert report.bytes_up_per_device == pytest.approx(report.bytes_up / 7, abs=1)
    assert {usage.arm for usage in shown.metrics.by_version} == {"treatment", "holdback"}
    assert shown.metrics.by_round[0].round == 1
    assert shown.status.model.version == 1
    assert shown.status.privacy == "no DP guarantee"


def test_the_live_round_shows_how_each_phase_fills(deployment):
    from federated_protocol.messages import Phase

    devices = deployment.select(10)
    deployment.run_phase(Phase.ADVERTISE, devices)
    deployment.run_phase(Phase.SHARE, devices[:4])
    live = deployment.app.test_client().get("/admin/status").get_json()["running"]
    assert [(p["status"], p["answered"], p["expected"]) for p in live["phases"]] == [
        ("done", 10, 10),
        ("done", 10, 10),
        ("open", 4, 10),
        ("waiting", 0, 10),
        ("waiting", 0, 10),
        ("waiting", 0, 10),
    ]


def test_admin_calls_refuse_nonsense(deployment):
    assert deployment.call("GET", "/admin/rounds?limit=0", None)[0] == 400
    assert deployment.call("GET", "/admin/nothing", None)[0] == 400
