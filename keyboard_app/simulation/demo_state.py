"""What a demo is asked to do, what it sees meanwhile, and how it went."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from keyboard_app.simulation import progress
from keyboard_app.simulation.coordinator_reports import StatusRow
from keyboard_app.simulation.evaluation import Evaluation
from keyboard_app.simulation.person import TypingMode


class Through(Protocol):
    """Stands between devices and coordinator, for tests that record what travels."""

    def __call__(self, coordinator_url: str) -> str:
        """Return the address devices shall use instead."""
        ...


@dataclass(frozen=True, slots=True)
class DemoSetting:
    """What to run."""

    replay: Path
    catalog: Path | None
    """None for the catalog that ships with the package."""
    devices: int = 24
    rounds: int = 6
    seed: int = 0
    dropout: float = 0.1
    mode: TypingMode = "line"
    typist: Path | None = None
    port: int = 0
    keep: Path | None = None
    """A new folder for everything the run writes; None for a temporary one."""
    window: bool = False
    """Open the keyboard where there is a display."""
    evaluation: bool = True
    coordinator_settings: tuple[str, ...] = ()
    """Further ``NAME=VALUE`` settings of the coordinator."""
    through: Through | None = None


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One row of the table."""

    round: int
    version: int | None
    """None for a round that was abandoned, or that summed what the next version needs."""
    summed: str
    """What it was for, in words."""
    reason: str | None
    participants: int
    """Devices whose update is in the sum."""
    dropouts: int
    """Devices that vanished in any phase."""
    ctr_before: float | None
    """Taps over examined offers while typing with the version the round started from."""
    ctr_after: float | None
    """The same with the version it made; of the last one, on the held-back days."""
    bytes_up_per_device: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How the demo went."""

    dashboard: str
    folder: Path | None
    """Where everything lies, when it is kept."""
    rounds: tuple[RoundResult, ...]
    last_version: int
    keyboards: int
    keyboards_on_last_version: int
    lines_typed: int
    seconds: float
    peak_rss_mib: float
    """Largest resident set of a fleet process."""
    evaluation: Evaluation | None
    rounds_asked_for: int

    @property
    def succeeded(self) -> bool:
        """All versions were made and every keyboard ranks with the last version."""
        published = sum(row.version is not None for row in self.rounds)
        return published >= self.rounds_asked_for and self.keyboards == self.keyboards_on_last_version


@dataclass(slots=True)
class DemoState:
    """What is going on, for a view."""

    doing: str = "starting"
    dashboard: str | None = None
    status: StatusRow | None = None
    newest: dict[int, progress.Progress] = field(default_factory=dict)
    """By shard."""
    ready: dict[int, progress.FleetReady] = field(default_factory=dict)
    typed: list[progress.Typed] = field(default_factory=list)
    rounds_over: list[progress.RoundOver] = field(default_factory=list)
    troubles: list[progress.Trouble] = field(default_factory=list)
    done: dict[int, progress.FleetDone] = field(default_factory=dict)
    vanished: int = 0

    @property
    def lines_typed(self) -> int:
        """By all devices so far."""
        return sum(typed.lines for typed in self.typed)

    def usage(self) -> dict[int, progress.VersionTally]:
        """Lines, examined offers and taps by the version that ranked them."""
        sums: dict[int, list[int]] = {}
        for typed in self.typed:
            for version, tally in typed.by_version.items():
                found = sums.setdefault(version, [0, 0, 0])
                for at, value in enumerate((tally.lines, tally.offers, tally.clicks)):
                    found[at] += value
        return {version: progress.VersionTally(*values) for version, values in sorted(sums.items())}

    def ctr(self, version: int | None) -> float | None:
        """Taps over examined offers with this version; None before anything was offered."""
        tally = self.usage().get(version) if version is not None else None
        return tally.clicks / tally.offers if tally is not None and tally.offers else None

    def note(self, message: progress.Progress) -> None:
        """Take in one line of a fleet."""
        if isinstance(message, progress.Vanished):
            self.vanished += 1
            return
        self.newest[message.shard] = message
        if isinstance(message, progress.FleetReady):
            self.ready[message.shard] = message
        elif isinstance(message, progress.Typed):
            self.typed.append(message)
        elif isinstance(message, progress.RoundOver):
            self.rounds_over.append(message)
        elif isinstance(message, progress.Trouble):
            self.troubles.append(message)
        elif isinstance(message, progress.FleetDone):
            self.done[message.shard] = message


class View(Protocol):
    """Shows what is going on."""

    def update(self, state: DemoState) -> None:
        """Called several times a second, from one thread."""
        ...


def describe(state: DemoState) -> str:
    """What the fleet is doing, in a few words."""
    typing = [
        message for message in state.newest.values() if isinstance(message, progress.Typing | progress.FleetReady)
    ]
    joining = [message for message in state.newest.values() if isinstance(message, progress.Joining | progress.Typed)]
    running = state.status.running if state.status is not None else None
    if typing:
        return "typing"
    if joining and running is not None and running.state != "selecting":
        return f"round {running.round}: {running.state}"
    return "joining a round" if joining else state.doing
