"""One headless keyboard inside a fleet: its home directory, and everything a device has but the window."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from data_logging import ImpressionLog
from federated_protocol.messages import Phase, SessionAnswer, SignedMessage
from keyboard_app.device.conditions import SwitchedConditions
from keyboard_app.device.identity import DeviceIdentity
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.runtime import DeviceRuntime
from keyboard_app.device.schedule import ScheduleSetting
from keyboard_app.device.transport import Transport
from keyboard_app.simulation.clock import SimulatedClock
from keyboard_app.simulation.person import SimulatedPerson, TypingMode
from keyboard_app.simulation.splits import Person
from keyboard_app.simulation.typist import Typist
from keyboard_app.suggestions import SuggestionEngine, TypingSession
from suggestion_model.bundle import Bundle
from suggestion_model.runtime import Ranker
from suggestion_model.types import CandidateSource

NEWS_INTERVAL_S = 1.0
"""How often a device of a fleet that takes no part asks for the current model, in seconds."""


class DeviceDied(BaseException):
    """A death injected by a fleet: the process of this device is gone before the phase's message left."""

    def __init__(self, phase: Phase) -> None:
        super().__init__(phase.value)
        self.phase = phase


class MortalTransport(Transport):
    """A transport that takes its device with it when a doomed phase's message should be sent."""

    doomed: Phase | None = None
    """Die instead of sending this phase's message; None to live."""

    def send(self, session: str, phase: Phase, message: SignedMessage) -> SessionAnswer:
        """Send, or die."""
        if phase is self.doomed:
            raise DeviceDied(phase)
        return super().send(session, phase, message)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all devices of a process share: immutable things, and rankers that serve one thread."""

    coordinator_url: str
    bundle: Bundle
    catalog: CandidateSource
    typist: Typist
    training_ranker: Ranker
    mode: TypingMode
    smallest_aggregate: int
    """The floor of the INSECURE DEMO policy."""
    seed: int
    timezone: tzinfo


class HostedDevice:
    """A device with its owner.

    Arguments:
        person: whose lines are typed.
        home: the device's directory; identity and certificate are placed there before.
        shared: what the process shares.

    Raises:
        OSError, LogError, IdentityError: the home directory cannot be used.
    """

    def __init__(self, person: Person, home: Path, shared: Surroundings) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.person = person
        self._home = home
        self._shared = shared
        self._random = random.Random(f"{shared.seed}/{person.user}")
        self.clock = SimulatedClock()
        self.conditions = SwitchedConditions()
        self.conditions.set(idle=False, charging=False, unmetered=True)
        self.log = ImpressionLog(home / "log.sqlite", clock=self.clock)
        self.engine = SuggestionEngine(
            shared.bundle,
            shared.catalog,
            self.log,
            clock=self.clock,
            rng=random.Random(self._random.getrandbits(64)),
            timezone=shared.timezone,
        )
        self.session = TypingSession(
            self.engine, self.log, clock=self.clock, examined_after_s=shared.typist.setting.dwell_s
        )
        self.owner = SimulatedPerson(self.session, shared.typist, self.clock, shared.mode)
        self._bytes_before = 0
        self.transport = MortalTransport(shared.coordinator_url, wait_s=0)
        self.runtime = self._start()

    def _start(self) -> DeviceRuntime:
        shared = self._shared
        return DeviceRuntime(
            self._home,
            shared.coordinator_url,
            DeviceIdentity.open(self._home),
            DevicePolicy().demo(shared.smallest_aggregate),
            shared.bundle,
            self.engine,
            self.log,
            self.conditions,
            schedule=fleet_schedule(),
            training_ranker=shared.training_ranker,
            transport=self.transport,
            rng=random.Random(self._random.getrandbits(64)),
        )

    @property
    def version(self) -> int:
        """Newest model version on the device."""
        return self.runtime.status.model_version

    @property
    def bytes_up(self) -> int:
        """Bytes sent so far, those before a death included."""
        return self._bytes_before + self.transport.traffic.up

    def plug_in(self) -> None:
        """Night: idle, charging, unmetered."""
        self.conditions.set(idle=True, charging=True, unmetered=True)

    def pick_up(self) -> None:
        """In use again: only news about the current model is asked for."""
        self.conditions.set(idle=False, charging=False)

    def revive(self) -> None:
        """Start anew after a death: what was in memory is lost, what is in the home directory is not."""
        self._bytes_before += self.transport.traffic.up
        self.transport.close()
        self.transport = MortalTransport(self._shared.coordinator_url, wait_s=0)
        self.runtime = self._start()

    def close(self) -> None:
        """Leave any round and close the log."""
        self.runtime.stop()
        self.log.close()


def fleet_schedule() -> ScheduleSetting:
    """Rounds follow each other as soon as a fleet says so."""
    return ScheduleSetting(
        rest_between_rounds_s=0.0,
        news_interval_s=NEWS_INTERVAL_S,
        conditions_poll_s=0.2,
        backoff_first_s=0.3,
        backoff_limit_s=2.0,
        longest_hint_s=2.0,
    )
