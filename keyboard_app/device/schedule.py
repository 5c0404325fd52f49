"""When to check in: decided on the device alone, from its conditions, its log and what happened before.

The coordinator may ask a device to come back later (pace steering); it never learns why a device stays away. All
intervals are stretched by a random factor so that devices started together drift apart, and network errors are
answered with exponential back-off.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass

from keyboard_app.device.conditions import ConditionReport


@dataclass(frozen=True, slots=True)
class ScheduleSetting:
    """How eager a device is; all times in seconds."""

    smallest_examples: int = 1
    """Labelled examples needed before a round is joined for training."""
    rest_between_rounds_s: float = 4 * 3600.0
    """Shortest time between two participations."""
    news_interval_s: float = 3600.0
    """Longest time between two check-ins, whether or not a round is wanted."""
    conditions_poll_s: float = 60.0
    """How often conditions are looked at while waiting for them."""
    backoff_first_s: float = 10.0
    backoff_limit_s: float = 1800.0
    jitter: float = 0.2
    """Waits are multiplied by a factor drawn from [1, 1 + jitter]."""
    rest_after_stop_s: float = 3600.0
    """After its owner stopped it, a device leaves rounds alone for this long."""
    personal_interval_s: float = 3600.0
    """Shortest time between two trainings for the owner alone."""
    training_share: float = 0.5
    """Training takes at most this share of the time, in (0, 1]; the rest of it the device is left alone."""
    longest_hint_s: float = 24 * 3600.0
    """A coordinator cannot send a device away for longer than this."""

    @classmethod
    def demo(cls) -> ScheduleSetting:
        """A schedule in which rounds follow each other within seconds."""
        return cls(
            rest_between_rounds_s=0.0,
            news_interval_s=5.0,
            conditions_poll_s=1.0,
            backoff_first_s=0.5,
            backoff_limit_s=5.0,
            rest_after_stop_s=30.0,
            personal_interval_s=5.0,
            training_share=1.0,
            longest_hint_s=30.0,
        )


@dataclass(frozen=True, slots=True)
class Material:
    """What the log holds for a round."""

    examples: int
    """Labelled offers to learn from."""
    lines_to_report: int
    """Typed lines no round has counted yet; a device without examples still takes part to report those."""


class WaitReason(enum.StrEnum):
    """Why a device does not take part right now; words for the person."""

    CONDITIONS = "conditions"
    NOTHING_LEARNED = "nothing to learn from yet"
    RESTING = "resting after a round"
    COME_BACK = "asked to come back later"
    BACKING_OFF = "coordinator out of reach"
    STOPPED = "stopped by you"
    PAUSED = "learning is paused"
    NOT_SENDING = "you chose to send nothing"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now."""

    check_in: bool
    wants_round: bool
    wait_s: float
    """Seconds until the question is worth asking again; 0 when a check-in is due."""
    reason: WaitReason | None
    """Why no round is wanted now, None when one is."""


class Schedule:
    """Keeps the times that matter and answers "is a check-in due?".

    Args:
        setting: intervals.
        rng: source of jitter (not of secrets).
    """

    def __init__(self, setting: ScheduleSetting, rng: random.Random) -> None:
        self.setting = setting
        self._rng = rng
        self._failures = 0
        self._not_before = -float("inf")
        self._not_before_reason = WaitReason.COME_BACK
        self._last_check_in = -float("inf")
        self._last_round = -float("inf")
        self._stopped_until = -float("inf")

    def decide(
        self,
        now: float,
        conditions: ConditionReport,
        material: Callable[[], Material],
        declined: WaitReason | None = None,
    ) -> Decision:
        """Decide at time ``now`` (seconds, any monotone origin).

        Args:
            conditions: what is known about idle, charging, unmetered.
            material: looks into the log; only called when everything else speaks for a round.
            declined: why the owner wants no round (paused, sends nothing); None when there is no objection.
        """
        if now < self._not_before:
            return Decision(False, False, self._not_before - now, self._not_before_reason)
        reason = declined or self._against_round(now, conditions, material)
        news_due = conditions.allow_news and now >= self._last_check_in + self.setting.news_interval_s
        if reason is None:
            return Decision(True, True, 0.0, None)
        if news_due:
            return Decision(True, False, 0.0, reason)
        return Decision(False, False, self._wait(now, conditions, reason), reason)

    def _against_round(
        self, now: float, conditions: ConditionReport, material: Callable[[], Material]
    ) -> WaitReason | None:
        if not conditions.allow_training:
            return WaitReason.CONDITIONS
        if now < self._stopped_until:
            return WaitReason.STOPPED
        if now < self._last_round + self.setting.rest_between_rounds_s:
            return WaitReason.RESTING
        found = material()
        if found.examples < self.setting.smallest_examples and found.lines_to_report == 0:
            return WaitReason.NOTHING_LEARNED
        return None

    def _wait(self, now: float, conditions: ConditionReport, reason: WaitReason) -> float:
        resting = reason is WaitReason.RESTING
        until = [
            self._last_round + self.setting.rest_between_rounds_s - now if resting else self.setting.conditions_poll_s
        ]
        if conditions.allow_news:
            until.append(self._last_check_in + self.setting.news_interval_s - now)
        return max(0.01, min(until))

    def is_held(self, now: float) -> bool:
        """Whether a hint or a back-off still runs."""
        return now < self._not_before

    def checked_in(self, now: float) -> None:
        """The coordinator answered: errors are forgotten."""
        self._failures = 0
        self._last_check_in = now

    def come_back(self, now: float, after_s: float) -> None:
        """The coordinator asked for a check-in after ``after_s`` seconds; bounded, and jittered upwards."""
        self._hold(now, min(max(after_s, 0.05), self.setting.longest_hint_s), WaitReason.COME_BACK)

    def joined(self, now: float) -> None:
        """A masked input of this device left, whatever became of it."""
        self._last_round = now

    def stopped(self, now: float) -> None:
        """The owner stopped what the device was doing: leave rounds alone for a while, news excepted."""
        self._stopped_until = now + self.setting.rest_after_stop_s

    def next_opportunity_s(self, now: float) -> float | None:
        """Seconds until nothing that runs out by itself speaks against a round; None when nothing of that kind does."""
        until = max(self._not_before, self._stopped_until, self._last_round + self.setting.rest_between_rounds_s) - now
        return until if until > 0 else None

    def failed(self, now: float) -> None:
        """The coordinator was out of reach, refused or made no sense: back off exponentially."""
        wait = self.setting.backoff_first_s * 2.0 ** min(self._failures, 30)
        self._failures += 1
        self._hold(now, min(wait, self.setting.backoff_limit_s), WaitReason.BACKING_OFF)

    def _hold(self, now: float, wait: float, reason: WaitReason) -> None:
        self._not_before = now + wait * (1.0 + self.setting.jitter * self._rng.random())
        self._not_before_reason = reason
