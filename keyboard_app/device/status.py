"""What a device says of itself, for its owner's eyes."""

from __future__ import annotations

from dataclasses import dataclass, field

from keyboard_app.device.conditions import ConditionReport
from keyboard_app.device.participation_states import EndKind
from keyboard_app.device.schedule import WaitReason

ON_ITS_OWN = "on its own: no coordinator, nothing sent"
"""What a device without a coordinator says of itself."""


@dataclass(slots=True)
class Trouble:
    """The last thing that went wrong, in a sentence without anything typed; empty after a success."""

    sentence: str = ""

    def note(self, sentence: str) -> None:
        """Something went wrong."""
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What the device is doing."""

    line: str
    """One line for the window."""
    phase: str
    """``waiting``, or the step of a round."""
    model_version: int
    """The newest model on this device."""
    ranking_version: int
    """The model it ranks with: v0 for the holdback."""
    arm: str
    rounds_joined: int
    bytes_up_last_round: int
    bytes_down_last_round: int
    bytes_up_total: int
    bytes_down_total: int
    next_step_s: float
    """Seconds until the device looks again, as of the last step."""
    problem: str
    """The last thing that went wrong, empty after a success."""
    insecure_demo: bool
    last_end: EndKind | None = None
    """How the last participation ended; None before the first one has."""
    reason: WaitReason | None = None
    """Why no round is joined now."""
    next_opportunity_at: float | None = None
    """Unix time in seconds at which the wait that runs out by itself is over; None when it waits for something else."""
    conditions: ConditionReport = field(default_factory=ConditionReport)
    """As of the last step."""
    personal: bool = False
    """Whether what it learned about its owner alone ranks, too."""
    pinned: bool = False
    """Whether its owner rolled it back to an older model."""
    can_stop: bool = False
    """Whether something runs that its owner may still stop."""
    alone: bool = False
    """Whether it has no coordinator."""
    privacy: str = ""
    """Epsilon spent so far, at which delta and under which assumption, or that nothing is guaranteed."""
