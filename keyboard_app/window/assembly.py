"""One keyboard put together: log, engine, typing session and, where there is a coordinator, the device behind it.

No Kivy here: the same object stands behind the window and its tests. Whatever the surroundings lack (a coordinator, a
certificate, a log that can be opened) costs its own part alone; a person can type in any case.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from data_logging import ImpressionLog, LogError
from keyboard_app.cli import LOG_FILE
from keyboard_app.device import (
    DeviceIdentity,
    DevicePolicy,
    DeviceRuntime,
    Enrolment,
    ScheduleSetting,
    SystemConditions,
)
from keyboard_app.device.model_store import ModelStore
from keyboard_app.suggestions import SuggestionEngine, TypingSession
from keyboard_app.suggestions.session import SEARCH_ADDRESS
from keyboard_app.text import WordSuggester
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog, shipped_catalog

NO_COORDINATOR = "on its own: no coordinator, nothing sent"
NO_LOG = "the local log cannot be opened, nothing is recorded"
IDLE_AFTER_S = 120.0
DEMO_IDLE_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class KeyboardSetting:
    """What a keyboard is told at its start."""

    home: Path
    """Folder of this keyboard's log, models, identity and rounds."""
    coordinator_url: str | None = None
    """Where rounds are; None for a keyboard on its own."""
    enrolment: Enrolment | None = None
    """How to get a certificate, where there is none yet."""
    certificate: Path | None = None
    """A certificate to keep, as ``authority issue`` wrote it."""
    catalog: Path | None = None
    """A query list or knowledge graph instead of the shipped one."""
    search_address: str = SEARCH_ADDRESS
    """Where a tapped query is searched, with ``{query}`` where it goes."""
    demo_floor: int | None = None
    """INSECURE DEMO: accept sums over as few devices as this, and follow rounds within seconds."""


@dataclass(slots=True)
class Keyboard:
    """Everything behind the window. Made by :func:`assemble`, ended by :meth:`close`."""

    session: TypingSession
    engine: SuggestionEngine
    log: ImpressionLog | None
    runtime: DeviceRuntime | None
    notes: list[str] = field(default_factory=list)
    """What the person should know about the start: a log that was set aside, for example."""
    last_activity: list[float | None] = field(default_factory=lambda: [None])

    def note_activity(self) -> None:
        """A key was pressed: the device is in use."""
        self.last_activity[0] = time.monotonic()

    def status_line(self) -> str:
        """What the device is doing, in one line."""
        if self.runtime is not None:
            doing = self.runtime.status.line
        else:
            doing = f"model {self.engine.model.version} · {NO_COORDINATOR if self.log is not None else NO_LOG}"
        return " · ".join([*self.notes, doing])

    def start(self) -> None:
        """Let the device work in the background."""
        if self.runtime is not None:
            self.runtime.run_in_background()

    def close(self) -> None:
        """Leave any round and close the log."""
        if self.runtime is not None:
            self.runtime.stop()
        if self.log is not None:
            self.log.close()


def assemble(setting: KeyboardSetting, clock: Callable[[], float] = time.time) -> Keyboard:
    """Put a keyboard together.

    Args:
        setting: where it lives and whom it talks to.
        clock: Unix time in seconds.

    Raises:
        BundleError: the shipped model is damaged.
        CatalogError: the catalog cannot be read.
        IdentityError: the identity or the given certificate cannot be used.
        OSError: ``setting.home`` cannot be used, or the certificate cannot be read.
        ValueError: an address is not one.
    """
    setting.home.mkdir(parents=True, exist_ok=True)
    bundle = Bundle.shipped()
    catalog = load_catalog(setting.catalog) if setting.catalog is not None else shipped_catalog()
    notes: list[str] = []
    log = _open_log(setting.home / LOG_FILE, clock, notes)
    engine = SuggestionEngine(bundle, catalog, log, clock=clock)
    words = WordSuggester.shipped()
    if words.corrector is not None:
        words.corrector.load_in_background()
    session = TypingSession(engine, log, words, clock, search_address=setting.search_address)
    keyboard = Keyboard(session, engine, log, None, notes)
    if log is None or setting.coordinator_url is None:
        _use_stored_model(setting.home, bundle, engine)
    else:
        keyboard.runtime = _make_runtime(setting, bundle, engine, log, keyboard, clock)
    return keyboard


def _open_log(path: Path, clock: Callable[[], float], notes: list[str]) -> ImpressionLog | None:
    try:
        log = ImpressionLog(path, clock=clock)
    except LogError:
        return None
    if log.recovered is not None:
        notes.append("the local log was damaged and set aside, a new one is begun")
    return log


def _use_stored_model(home: Path, bundle: Bundle, engine: SuggestionEngine) -> None:
    """Without a coordinator the newest model that ever arrived goes on ranking."""
    identity = DeviceIdentity.open(home)
    store = ModelStore(home / "models", bundle.digest, bundle.weights0, bundle.threshold0)
    model = store.current
    engine.use_model(model.version, model.weights, model.threshold, identity.arm())


def _make_runtime(
    setting: KeyboardSetting,
    bundle: Bundle,
    engine: SuggestionEngine,
    log: ImpressionLog,
    keyboard: Keyboard,
    clock: Callable[[], float],
) -> DeviceRuntime:
    assert setting.coordinator_url is not None
    identity = DeviceIdentity.open(setting.home)
    if setting.certificate is not None:
        identity.install(setting.certificate.read_bytes())
    demo = setting.demo_floor is not None
    policy = DevicePolicy()
    return DeviceRuntime(
        setting.home,
        setting.coordinator_url,
        identity,
        policy if setting.demo_floor is None else policy.demo(setting.demo_floor),
        bundle,
        engine,
        log,
        SystemConditions(
            last_activity=lambda: keyboard.last_activity[0],
            idle_after_s=DEMO_IDLE_AFTER_S if demo else IDLE_AFTER_S,
        ),
        clock,
        schedule=ScheduleSetting.demo() if demo else None,
        enrolment=setting.enrolment,
    )
