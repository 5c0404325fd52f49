"""A device without a window, put together: log, runtime and, where a replay is typed, engine and typing session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from data_logging import ImpressionLog
from keyboard_app.cli import CATALOG_CACHE, LOG_FILE
from keyboard_app.device.conditions import Conditions
from keyboard_app.device.identity import DeviceIdentity
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.release_client import pin_root
from keyboard_app.device.replayed_owner import ReplayedOwner
from keyboard_app.device.round_attendance import Enrolment
from keyboard_app.device.runtime import DeviceRuntime
from keyboard_app.device.schedule import ScheduleSetting
from keyboard_app.device.status import DeviceStatus
from keyboard_app.device.transport import Transport
from suggestion_model.bundle import Bundle

if TYPE_CHECKING:
    from keyboard_app.simulation.clock import SimulatedClock
    from keyboard_app.suggestions import SuggestionEngine


@dataclass(frozen=True, slots=True)
class TypingSetting:
    """Whose replayed text is typed, and how."""

    replay: Path
    user: str | None = None
    """One of the replay's people; None draws one from the device's key."""
    catalog: Path | None = None
    """None for the catalog that ships with the package."""
    typist: Path | None = None
    """Overrides constants of the simulated typist."""
    seed: int = 0
    speed: float = 2000.0
    """Replayed seconds per second; 0 types everything at once."""


@dataclass(frozen=True, slots=True)
class HeadlessSetting:
    """What a headless device is told at its start."""

    home: Path
    coordinator_url: str
    policy: DevicePolicy
    conditions: Conditions
    schedule: ScheduleSetting
    enrolment: Enrolment | None = None
    certificate: Path | None = None
    """A certificate to keep, as ``authority issue`` wrote it."""
    release_root: Path | None = None
    """Root metadata to pin; None for what the home holds, if anything."""
    typing: TypingSetting | None = None
    """None for a device that only takes part with the log it has."""


class HeadlessDevice:
    """One device in one process.

    Raises:
        IdentityError, PinnedRootError, LogError, CatalogError, BundleError, ReplayError, TypistError, OSError: a part
            cannot be had; the message says which.
        ValueError: the coordinator's address is none.
    """

    def __init__(self, setting: HeadlessSetting) -> None:
        setting.home.mkdir(parents=True, exist_ok=True)
        identity = DeviceIdentity.open(setting.home)
        if setting.certificate is not None:
            identity.install(setting.certificate.read_bytes())
        if setting.release_root is not None:
            pin_root(setting.home, setting.release_root.read_bytes(), insecure_demo=setting.policy.insecure_demo)
        bundle = Bundle.shipped()
        self.owner: ReplayedOwner | None = None
        engine = None
        if setting.typing is None:
            self.log = ImpressionLog(setting.home / LOG_FILE)
        else:
            from keyboard_app.simulation.clock import SimulatedClock
            from keyboard_app.suggestions import SuggestionEngine
            from suggestion_model.catalog import load_catalog, shipped_catalog

            clock = SimulatedClock()
            self.log = ImpressionLog(setting.home / LOG_FILE, clock=clock)
            catalog = setting.typing.catalog
            cache = setting.home / CATALOG_CACHE
            source = load_catalog(catalog, cache=cache) if catalog is not None else shipped_catalog()
            engine = SuggestionEngine(bundle, source, self.log, clock=clock, timezone=UTC)
            self.owner = _make_owner(setting.typing, setting.home, identity, engine, self.log, clock)
        self.runtime = DeviceRuntime(
            setting.home,
            setting.coordinator_url,
            identity,
            setting.policy,
            bundle,
            engine,
            self.log,
            setting.conditions,
            schedule=setting.schedule,
            enrolment=setting.enrolment,
            # The owner types on the same thread, which must not wait for a round.
            transport=None if self.owner is None else Transport(setting.coordinator_url, wait_s=0),
        )

    def run(
        self,
        report: Callable[[DeviceStatus], None],
        rounds: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Type and take part until ``rounds`` rounds were joined since the start, or an exception ends it.

        A signal handler may raise at any point: what is on disk is always whole, and :meth:`close` does the rest.

        Args:
            report: called with the status whenever its line changes.
            rounds: None for no limit.
            sleep: waits so many seconds.
        """
        joined_before = self.runtime.status.rounds_joined
        line = ""
        typing_due: float | None = 0.0 if self.owner is not None else None
        device_due = 0.0
        while True:
            if typing_due is not None and self.owner is not None and time.monotonic() >= typing_due:
                wait = self.owner.step()
                typing_due = None if wait is None else time.monotonic() + wait
            if time.monotonic() >= device_due:
                device_due = time.monotonic() + self.runtime.step()
                status = self.runtime.status
                if status.line != line:
                    line = status.line
                    report(status)
                if rounds is not None and status.rounds_joined - joined_before >= rounds:
                    return
            due = device_due if typing_due is None else min(device_due, typing_due)
            if (pause := due - time.monotonic()) > 0:
                sleep(pause)

    def close(self) -> None:
        """Leave any round, forget its secrets, close the log."""
        self.runtime.stop()
        self.log.close()


def _make_owner(
    setting: TypingSetting,
    home: Path,
    identity: DeviceIdentity,
    engine: SuggestionEngine,
    log: ImpressionLog,
    clock: SimulatedClock,
) -> ReplayedOwner:
    from keyboard_app.simulation.person import SimulatedPerson
    from keyboard_app.simulation.replay import ReplayError
    from keyboard_app.simulation.splits import load_people, outline
    from keyboard_app.simulation.typist import Typist, load_typist_setting
    from keyboard_app.suggestions import TypingSession

    seen = outline(setting.replay)
    people = seen.who_may_train
    if not people:
        raise ReplayError(f"{setting.replay.name} holds nobody who may train; give a replay with more people")
    user = setting.user or people[int.from_bytes(identity.fingerprint, "big") % len(people)]
    if user not in seen.lines:
        raise ReplayError(f"{setting.replay.name} holds no person of that name; leave --user away to have one drawn")
    lines = load_people(setting.replay, seen, [user])[user].training
    typist = Typist(load_typist_setting(setting.typist, setting.seed))
    session = TypingSession(engine, log, clock=clock, examined_after_s=typist.setting.dwell_s)
    person = SimulatedPerson(session, typist, clock)
    return ReplayedOwner(person, user, lines, home / "replay.json", setting.speed)
