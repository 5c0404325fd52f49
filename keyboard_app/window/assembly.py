"""One keyboard put together: log, engine, typing session and, where there is a coordinator, the device behind it.

No Kivy here: the same object stands behind the window and its tests. Whatever the surroundings lack (a coordinator, a
certificate, a log that can be opened) costs its own part alone; a person can type in any case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_logging import ImpressionLog, LogError
from keyboard_app.cli import CATALOG_CACHE, LOG_FILE
from keyboard_app.device import (
    DeviceIdentity,
    DevicePolicy,
    DeviceRuntime,
    Enrolment,
    ScheduleSetting,
    SwitchedConditions,
    SystemConditions,
)
from keyboard_app.device.identity import HOLDBACK
from keyboard_app.device.model_store import ModelStore
from keyboard_app.device.release_client import pin_root
from keyboard_app.suggestions import SEARCH_ADDRESS, Preferences, SuggestionEngine, TypingSession
from keyboard_app.text import WordListError, WordMemory, WordSuggester
from keyboard_app.text.correction import Corrector
from keyboard_app.window.environment import settle_memory
from keyboard_app.window.pages.learning_status import LearningStatus
from keyboard_app.window.pages.privacy_centre import PrivacyCentre
from keyboard_app.window.search_results import CatalogResults, NoResults, ResultProvider
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog, shipped_catalog
from suggestion_model.types import CandidateSource

MEMORY_FILE = "words.sqlite"
PREFERENCES_FILE = "preferences.json"
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
    release_root: Path | None = None
    """Root metadata to pin; None for what the home holds, if anything."""
    catalog: Path | None = None
    """A query list or knowledge graph instead of the shipped one."""
    search_address: str = SEARCH_ADDRESS
    """Where a tapped query is searched, with ``{query}`` where it goes."""
    language: str = "en"
    """Of the words that are suggested first."""
    neighbours: Mapping[str, str] = field(default_factory=dict)
    """Letter -> letters whose keys lie around it."""
    words_after_s: float = 0.0
    """Words are read so many seconds later, beside everything else: the window comes first."""
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
    home: Path = Path()
    """Its folder."""
    conditions: SwitchedConditions = field(default_factory=SwitchedConditions)
    """When the device may learn, and the switches laid over it."""
    results: ResultProvider = field(default_factory=NoResults)
    """What a search card shows without asking anybody."""
    simulate: bool = True
    """Whether conditions may be simulated by hand: in demos, and on a keyboard of its own."""
    clock: Callable[[], float] = time.time
    memory: WordMemory | None = None
    """What was learned of the person's own words."""
    neighbours: Mapping[str, str] = field(default_factory=dict)
    """Letter -> letters whose keys lie around it, of the layout in use."""

    def use_language(self, language: str, *, wait: bool = True) -> None:
        """Suggest words of another language; of one without a list, none. Corrections follow once they are loaded.

        With ``wait=False`` the list is read beside typing.
        """
        if self.session.words is not None and self.session.words.language == language:
            return
        if not wait:
            threading.Thread(target=self.use_language, args=(language,), name="words", daemon=True).start()
            return
        try:
            words = WordSuggester.shipped(language, self.memory)
        except WordListError:
            self.session.words = None
            return
        if words.corrector is not None:
            words.corrector.neighbours = self.neighbours
            threading.Thread(target=_load, args=(words.corrector,), name="correction", daemon=True).start()
        self.session.words = words

    def note_activity(self) -> None:
        """A key was pressed: the device is in use."""
        self.last_activity[0] = time.monotonic()

    def status_line(self) -> str:
        """What the device is doing, in one line."""
        if self.runtime is not None:
            doing = self.runtime.status.line
        else:
            doing = f"model {self.engine.model.version} · {NO_LOG}"
        return " · ".join([*self.notes, doing])

    def privacy(self) -> PrivacyCentre:
        """What the privacy centre shows."""
        return PrivacyCentre(self, self.home / "exports", self.clock)

    def learning(self) -> LearningStatus | None:
        """What the learning status shows; None without a log, where nothing can be learned."""
        if self.runtime is None:
            return None
        return LearningStatus(self.runtime, self.conditions, self.simulate, self.clock)

    def start(self) -> None:
        """Let the device work in the background."""
        if self.runtime is not None:
            self.runtime.run_in_background()

    def close(self) -> None:
        """Leave any round and close the log."""
        if self.runtime is not None:
            self.runtime.stop()
        if self.memory is not None:
            self.memory.close()
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
        PinnedRootError: the given release root cannot be pinned.
        OSError: ``setting.home`` cannot be used, or the certificate cannot be read.
        ValueError: an address is not one.
    """
    setting.home.mkdir(parents=True, exist_ok=True)
    bundle, catalog = _release(setting.catalog, setting.home / CATALOG_CACHE)
    notes: list[str] = []
    log = _open_log(setting.home / LOG_FILE, clock, notes)
    engine = SuggestionEngine(bundle, catalog, log, clock=clock)
    memory = _open_memory(setting.home / MEMORY_FILE, clock, notes)
    preferences = Preferences.load(setting.home / PREFERENCES_FILE)
    if preferences.recovered is not None:
        notes.append("your choices could not be read and were set aside")
    session = TypingSession(engine, log, None, clock, preferences=preferences, search_address=setting.search_address)
    keyboard = Keyboard(
        session,
        engine,
        log,
        None,
        notes,
        home=setting.home,
        results=CatalogResults(catalog),
        simulate=setting.coordinator_url is None or setting.demo_floor is not None,
        clock=clock,
    )
    keyboard.memory, keyboard.neighbours = memory, setting.neighbours
    if setting.words_after_s:
        timer = threading.Timer(setting.words_after_s, keyboard.use_language, (setting.language,))
        timer.daemon = True
        timer.start()
    else:
        keyboard.use_language(setting.language)
    keyboard.conditions = SwitchedConditions(
        SystemConditions(
            last_activity=lambda: keyboard.last_activity[0],
            idle_after_s=IDLE_AFTER_S if setting.demo_floor is None else DEMO_IDLE_AFTER_S,
        )
    )
    if log is None:
        _use_stored_model(setting.home, bundle, engine)
    else:
        keyboard.runtime = _make_runtime(setting, bundle, engine, log, keyboard, clock)
    return keyboard


def _load(corrector: Corrector) -> None:
    corrector.load()
    settle_memory()


def _open_memory(path: Path, clock: Callable[[], float], notes: list[str]) -> WordMemory | None:
    try:
        memory = WordMemory(path, clock)
    except LogError:
        notes.append("learned words cannot be opened")
        return None
    if memory.recovered is not None:
        notes.append("learned words were damaged and set aside")
    return memory


_shared: dict[Path | None, tuple[Bundle, CandidateSource]] = {}


def _release(catalog: Path | None, cache: Path) -> tuple[Bundle, CandidateSource]:
    """What several keyboards of one process share, wherever the first of them keeps its index: it never changes."""
    if catalog not in _shared:
        _shared.clear()
        source = load_catalog(catalog, cache=cache) if catalog is not None else shipped_catalog()
        _shared[catalog] = (Bundle.shipped(), source)
    return _shared[catalog]


def _open_log(path: Path, clock: Callable[[], float], notes: list[str]) -> ImpressionLog | None:
    try:
        log = ImpressionLog(path, clock=clock)
    except LogError:
        return None
    if log.recovered is not None:
        notes.append("the local log was damaged and set aside, a new one is begun")
    return log


def _use_stored_model(home: Path, bundle: Bundle, engine: SuggestionEngine) -> None:
    """Where nothing can be learned, the newest model that ever arrived goes on ranking."""
    identity = DeviceIdentity.open(home)
    store, arm = (
        ModelStore(home / "models", bundle.digest, bundle.weights0, bundle.threshold0, heads=bundle.heads),
        identity.arm(),
    )
    model = store.holdback if arm == HOLDBACK else store.in_use
    engine.use_model(model.version, model.weights, model.threshold, arm, head=model.head)


def _make_runtime(
    setting: KeyboardSetting,
    bundle: Bundle,
    engine: SuggestionEngine,
    log: ImpressionLog,
    keyboard: Keyboard,
    clock: Callable[[], float],
) -> DeviceRuntime:
    identity = DeviceIdentity.open(setting.home)
    if setting.certificate is not None:
        identity.install(setting.certificate.read_bytes())
    if setting.release_root is not None:
        pin_root(setting.home, setting.release_root.read_bytes(), insecure_demo=setting.demo_floor is not None)
    alone = setting.coordinator_url is None
    policy = DevicePolicy()
    return DeviceRuntime(
        setting.home,
        setting.coordinator_url,
        identity,
        policy if setting.demo_floor is None else policy.demo(setting.demo_floor),
        bundle,
        engine,
        log,
        keyboard.conditions,
        clock,
        schedule=ScheduleSetting.demo() if setting.demo_floor is not None or alone else None,
        enrolment=setting.enrolment,
    )
