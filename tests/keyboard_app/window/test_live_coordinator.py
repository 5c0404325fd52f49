"""Claims about keyboards beside a real coordinator, which is killed and comes back: all of them processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks._loopback import lasting_port
from keyboard_app.device import DeviceIdentity, Enrolment
from tests.keyboard_app.window.conftest import PageRig

pytestmark = pytest.mark.xdist_group("window")
PATIENCE_S = 120.0
ALONE = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}


def wait_for(reached: Callable[[], bool]) -> None:
    """Wait for another process; fail when it never comes."""
    until = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


class Federation:
    """An enrolment authority and a coordinator, as operators start them."""

    def __init__(self, folder: Path, tokens: int) -> None:
        self._folder = folder
        self._port = lasting_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.tokens = [f"token-{number}" for number in range(tokens)]
        self._run("coordinator.authority.cli", "init", str(folder / "authority"), "--insecure-demo").wait()
        tokens_given = [word for token in self.tokens for word in ("--token", token)]
        self._run(
            "coordinator.authority.cli", "serve", str(folder / "authority"),
            "--port", "0", "--port-file", str(folder / "authority.port"), *tokens_given,
        )  # fmt: skip
        self.start()
        self.authority_url = self._address("authority")
        self.url = self._address("coordinator")

    def start(self) -> None:
        """Start the coordinator, on the same port and the same database as before."""
        port = self._folder / "coordinator.port"
        port.unlink(missing_ok=True)
        self._coordinator = self._run(
            "coordinator.cli", "serve", "--database", str(self._folder / "coordinator.sqlite"),
            "--port", str(self._port), "--port-file", str(port),
            "--authority-public-key", str(self._folder / "authority" / "public.key"),
            "--small-demo",
        )  # fmt: skip
        wait_for(port.exists)

    def kill(self) -> None:
        """End the coordinator as a power cut would."""
        os.killpg(self._coordinator.pid, signal.SIGKILL)
        self._coordinator.wait()

    def close(self) -> None:
        """End everything that was started here."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _run(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{module}.log").open("ab") as log:
            command = [sys.executable, "-m", module, *arguments]
            process = subprocess.Popen(command, env=ALONE, stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)
        return self._processes[-1]

    def _address(self, name: str) -> str:
        port = self._folder / f"{name}.port"
        wait_for(lambda: port.exists() and port.read_text().strip() != "")
        return f"http://127.0.0.1:{port.read_text().strip()}"


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    made = Federation(tmp_path_factory.mktemp("federation"), tokens=5)
    yield made
    made.close()


def test_four_keyboards_in_one_window_are_four_devices(federation: Federation, tmp_path: Path) -> None:
    home = tmp_path / "home"
    tokens = [word for token in federation.tokens[:4] for word in ("--token", token)]
    done = subprocess.run(
        [
            sys.executable, "-m", "keyboard_app.cli", "run", "--home", str(home), "--instances", "4",
            "--coordinator", federation.url, "--authority", federation.authority_url, *tokens,
            "--insecure-demo", "--exit-after", "3", "--type", "hello",
        ],
        env=ALONE, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    devices = [DeviceIdentity.open(home / f"keyboard-{number}") for number in (1, 2, 3, 4)]
    assert len({device.public_key for device in devices}) == 4
    assert all(device.certificate is not None for device in devices)
    assert len(list(home.glob("keyboard-*/log.sqlite"))) == 4


def test_typing_goes_on_while_the_coordinator_is_killed_and_it_is_found_again(
    federation: Federation, make_page_rig: Callable[..., PageRig]
) -> None:
    rig = make_page_rig(
        coordinator_url=federation.url,
        enrolment=Enrolment(federation.authority_url, federation.tokens[4]),
        demo_floor=4,
    )
    session, status = rig.screen.session, rig.keyboard.status_line

    def type_until(reached: Callable[[], bool]) -> None:
        """Go on typing, frame by frame; every key arrives."""

        def another_key() -> bool:
            before = session.composed
            rig.screen.insert("a" if len(before) % 5 else " ")
            rig.frames(1)
            assert len(session.composed) == len(before) + 1
            return reached()

        wait_for(another_key)
        rig.screen.send()

    rig.keyboard.conditions.set(idle=True, charging=True, unmetered=True)  # rounds do not wait for the typing to end
    rig.keyboard.start()
    type_until(lambda: "nothing to learn from" in status())
    federation.kill()
    type_until(lambda: "no connection" in status())
    federation.start()
    type_until(lambda: "no connection" not in status())
    assert rig.screen.session.troubles == frozenset()
