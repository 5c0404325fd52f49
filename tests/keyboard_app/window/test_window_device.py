"""Claims about the keyboard behind the window: a new model arrives while typing, a coordinator comes and goes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from federated_protocol import wire
from federated_protocol.enrolment import issue
from federated_protocol.messages import ComeBack, ComeBackReason, ModelArtifact, ModelNotice
from federated_protocol.signing import Identity
from keyboard_app.device import DeviceIdentity
from keyboard_app.window.assembly import Keyboard, KeyboardSetting, assemble
from keyboard_app.window.layouts import load_layout
from keyboard_app.window.theme import load_theme
from suggestion_model.bundle import Bundle

pytestmark = pytest.mark.xdist_group("window")


class Coordinator:
    """Answers every check-in with "come back" and the newest model."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.publish(1)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(wire.encode(ComeBack(0.0, ComeBackReason.NO_ROUND, outer.notice)))

            def do_GET(self) -> None:
                self._answer(outer.artifact)

            def _answer(self, content: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def publish(self, version: int) -> None:
        """Make a version the newest."""
        weights = self._bundle.weights0.astype("<f4").tobytes()
        artifact = ModelArtifact(version, version - 1, self._bundle.digest, weights, -50.0)
        self.artifact = wire.encode(artifact)
        self.notice = ModelNotice(version, hashlib.sha256(self.artifact).hexdigest())

    def vanish(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def coordinator(bundle: Bundle) -> Iterator[Coordinator]:
    coordinator = Coordinator(bundle)
    yield coordinator
    coordinator.vanish()


@pytest.fixture
def make_keyboard(tmp_path: Path) -> Iterator[Callable[..., Keyboard]]:
    made: list[Keyboard] = []

    def make(coordinator_url: str | None = None) -> Keyboard:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        now = time.time()
        certificate = issue(
            Identity.generate(),
            DeviceIdentity.open(home).public_key,
            authority_name="test",
            not_before=now - 60,
            not_after=now + 3600,
        )
        (tmp_path / "certificate").write_bytes(certificate.encode())
        setting = KeyboardSetting(home, coordinator_url, certificate=tmp_path / "certificate", demo_floor=2)
        made.append(assemble(setting))
        return made[-1]

    yield make
    for keyboard in made:
        keyboard.close()


@pytest.fixture
def show(window: Any) -> Iterator[Callable[[Keyboard], Any]]:
    """Show a keyboard in the window."""
    from keyboard_app.window.screen import KeyboardScreen

    screens: list[Any] = []

    def make(keyboard: Keyboard) -> Any:
        screen = KeyboardScreen(
            keyboard.session,
            keyboard.status_line,
            [load_layout()],
            load_theme("light"),
            on_activity=keyboard.note_activity,
            size_hint=(None, None),
            size=(420, 800),
        )
        window.add_widget(screen)
        screens.append(screen)
        return screen

    yield make
    for screen in screens:
        screen.stop()
        window.remove_widget(screen)


def _step_until(keyboard: Keyboard, reached: Callable[[], bool]) -> None:
    assert keyboard.runtime is not None
    for _ in range(200):
        keyboard.runtime.step()
        if reached():
            return
    raise AssertionError(f"it did not happen: {keyboard.status_line()}")


def _version(keyboard: Keyboard) -> int:
    assert keyboard.runtime is not None
    return keyboard.runtime.status.model_version


def test_a_new_model_is_told_in_the_status_line_and_ranks_the_next_key(
    coordinator: Coordinator, make_keyboard: Callable[..., Keyboard], show: Callable[..., Any]
) -> None:
    keyboard = make_keyboard(coordinator.url)
    screen = show(keyboard)
    assert screen.header.status.startswith("model 0")
    screen.insert("a")
    _step_until(keyboard, lambda: _version(keyboard) == 1)
    screen.refresh_status()
    assert screen.header.status.startswith("model 1")
    screen.insert("n")
    arm = keyboard.runtime.status.arm if keyboard.runtime else ""
    assert keyboard.engine.model.version == (0 if arm == "holdback" else 1)
    assert keyboard.session.composed == "an"


def test_typing_goes_on_when_the_coordinator_vanishes(
    coordinator: Coordinator, make_keyboard: Callable[..., Keyboard], show: Callable[..., Any]
) -> None:
    keyboard = make_keyboard(coordinator.url)
    screen = show(keyboard)
    _step_until(keyboard, lambda: _version(keyboard) == 1)
    coordinator.vanish()
    assert keyboard.runtime is not None
    keyboard.start()
    for character in "still here":
        screen.insert(character)
    screen.send()
    screen.refresh_status()
    assert screen.conversation.lines == [("still here", True)]
    assert screen.header.status.startswith("model 1")


def test_a_keyboard_without_a_coordinator_says_so_and_keeps_the_model_it_has(
    coordinator: Coordinator, make_keyboard: Callable[..., Keyboard], show: Callable[..., Any]
) -> None:
    first = make_keyboard(coordinator.url)
    _step_until(first, lambda: _version(first) == 1)
    arm = first.runtime.status.arm if first.runtime else ""
    first.close()
    alone = make_keyboard(None)
    screen = show(alone)
    assert alone.runtime is not None
    assert alone.runtime.status.alone
    assert alone.engine.model.version == (0 if arm == "holdback" else 1)
    assert "no coordinator" in screen.header.status


def test_a_log_that_cannot_be_opened_does_not_stop_the_person(
    tmp_path: Path, make_keyboard: Callable[..., Keyboard], show: Callable[..., Any]
) -> None:
    (tmp_path / "home" / "log.sqlite").mkdir(parents=True)
    keyboard = make_keyboard(None)
    screen = show(keyboard)
    screen.insert("a")
    screen.send()
    assert "log" in screen.header.status
    assert screen.conversation.lines == [("a", True)]


def test_a_damaged_log_is_set_aside_and_said(
    tmp_path: Path, make_keyboard: Callable[..., Keyboard], show: Callable[..., Any]
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "log.sqlite").write_bytes(b"no database at all " * 100)
    screen = show(make_keyboard(None))
    assert "set aside" in screen.header.status


def test_the_shipped_catalog_and_model_offer_a_search_for_a_search_worthy_line(
    make_keyboard: Callable[..., Keyboard], show: Callable[..., Any]
) -> None:
    keyboard = make_keyboard(None)
    keyboard.engine.exploration = type(keyboard.engine.exploration)(0.0, 0.0)
    screen = show(keyboard)
    for character in "any good thai restaurants in oakland":
        screen.insert(character)
    assert screen.pill.query is not None
    assert "thai" in screen.pill.query.casefold()
