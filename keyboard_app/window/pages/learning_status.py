"""What the device is learning, when, and with which model: in words, and what its owner can do about it. No Kivy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keyboard_app.device import DeviceRuntime, DeviceStatus, SwitchedConditions
from keyboard_app.device.model_store import ModelStore, StoredModel
from keyboard_app.device.schedule import WaitReason

_CONDITION = {
    "idle": ("Idle", "nobody is typing", "in use", "unknown here, counts as yes"),
    "charging": ("Charging", "on mains power", "on battery", "no battery here, counts as yes"),
    "unmetered": (
        "Unmetered network",
        "traffic costs nothing",
        "traffic may cost money",
        "unknown here, counts as yes",
    ),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition for learning."""

    name: str
    title: str
    holds: bool | None
    """None: unknown, which does not speak against learning."""
    detail: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that can be ranked with."""

    title: str
    detail: str
    in_use: bool
    model: StoredModel | None
    """None follows the newest."""


class LearningStatus:
    """What the learning status page shows.

    Args:
        runtime: the device.
        conditions: its conditions, with the switches that may be laid over them.
        simulate: whether the switches are offered: in demos.
        clock: Unix time in seconds, the device's.
    """

    def __init__(
        self,
        runtime: DeviceRuntime,
        conditions: SwitchedConditions,
        simulate: bool,
        clock: Callable[[], float],
    ) -> None:
        self.runtime = runtime
        self.simulate = simulate
        self.remark = ""
        self._conditions = conditions
        self._clock = clock

    @property
    def status(self) -> DeviceStatus:
        """The device's own word."""
        return self.runtime.status

    def model_line(self) -> str:
        """Which model ranks, and whose it is."""
        status = self.status
        whose = "fitted to your own taps" if status.personal else "the same on every device"
        if status.arm == "holdback":
            whose = f"this device keeps {_kept(status.ranking_version)}, for comparison"
        elif status.pinned:
            whose = f"rolled back; {status.model_version} is the newest"
        return f"Model {status.ranking_version} · {whose}"

    def activity(self) -> str:
        """What the device does at this moment."""
        status, progress = self.status, self.runtime.progress
        if progress is not None:
            step = min(progress.step + 1, progress.steps)
            return f"Learning from {progress.examples} offers: step {step} of {progress.steps}"
        if status.phase != "waiting":
            return f"In a round: {status.phase}"
        return "Training for you alone" if status.can_stop else "Nothing runs at the moment"

    def next_opportunity(self) -> str:
        """When the device may take part again, and what it waits for."""
        status, missing = self.status, self.status.conditions.missing
        if status.reason is WaitReason.PAUSED:
            return "Learning is paused. It goes on when you switch it on."
        if status.alone:
            return "This keyboard has no coordinator: it joins no rounds. It can still learn for you alone."
        if status.phase != "waiting":
            return "Now: a round is running."
        if status.reason is WaitReason.NOT_SENDING:
            return "You chose to send nothing. New models still arrive, and it learns for you alone."
        waits = []
        if missing is not None:
            words = {"not charging": "it is charging", "metered network": "the network is unmetered"}
            waits.append(f"as soon as {words.get(missing, 'nobody types')}")
        if status.next_opportunity_at is not None:
            left = status.next_opportunity_at - self._clock()
            if left > 1:
                why = {WaitReason.STOPPED: "you stopped it", WaitReason.BACKING_OFF: "coordinator out of reach"}
                waits.append(f"in {duration(left)} ({why.get(status.reason, 'resting')})" if status.reason else "soon")
        if status.reason is WaitReason.NOTHING_LEARNED:
            waits.append("once there is something new to learn from")
        return f"Next round: {', '.join(waits) or 'at the next look'}."

    def conditions(self) -> tuple[Condition, ...]:
        """Idle, charging, unmetered."""
        found, set_here = self._conditions.now(), self._conditions.switches
        told = []
        for name, (title, yes, no, unknown) in _CONDITION.items():
            holds = getattr(found, name)
            detail = unknown if holds is None else yes if holds else no
            simulated = name in set_here
            told.append(Condition(name, title, holds, f"{detail} (simulated)" if simulated else detail, simulated))
        return tuple(told)

    def flip(self, name: str) -> None:
        """Simulate the opposite of what holds now."""
        holds = getattr(self._conditions.now(), name)
        self._conditions.set(**{name: holds is False})
        self.runtime.poke()

    def back_to_real(self) -> None:
        """Take all simulated conditions away."""
        self._conditions.clear()
        self.runtime.poke()

    def what_changed(self) -> str:
        """How the newest model differs from the one before it, as far as this device can tell."""
        store = self.runtime.store
        if store.current.version == 0:
            return "This is the model the keyboard came with. Nothing has been learned with others yet."
        return _difference(store)

    def joined(self) -> str:
        """Whether this device had a part in it."""
        last = next(reversed(self.runtime.history), None)
        if last is None:
            return "This device has joined no round yet."
        rounds = self.status.rounds_joined
        return f"This device has joined {rounds} round{'' if rounds == 1 else 's'}."

    def choices(self) -> tuple[ModelChoice, ...]:
        """The models that can be used: newest, the one before, the shipped one."""
        store, pinned = self.runtime.store, self.runtime.store.pinned
        found = [ModelChoice(f"Newest ({store.current.version})", "follows every round", pinned is None, None)]
        offered = {store.current.version}
        for model, detail in ((store.previous, "the one before"), (pinned, "chosen earlier"), (store.v0, "as shipped")):
            if model is None or model.version in offered:
                continue
            offered.add(model.version)
            in_use = pinned is not None and pinned.version == model.version
            found.append(ModelChoice(f"Model {model.version}", detail, in_use, model))
        return tuple(found)

    def choose(self, choice: ModelChoice) -> None:
        """Rank with it from the next key press on."""
        try:
            self.runtime.roll_back(choice.model)
            self.remark = ""
        except OSError as problem:
            self.remark = f"That could not be written down: {problem.strerror or type(problem).__name__}"

    def personal(self) -> str:
        """What the last training for the owner came to."""
        preferences, model = self.runtime.preferences, self.runtime.personal_model
        if self.status.arm == "holdback":
            return f"Not here: this device keeps {_kept(self.status.ranking_version)}, so that models can be compared."
        if not preferences.personalises:
            return "What you care for, learned on this device from your taps. It never leaves."
        if model is None or not model.grew_from(self.runtime.store.in_use):
            return "Will be learned when the conditions hold and there are a few offers to learn from."
        if not model.kept:
            return f"Learned from {model.examples} offers, but it did no better than the shared model: not used."
        return f"In use: learned from {model.examples} of your offers."


def duration(seconds: float) -> str:
    """A time span, roughly: ``40 s``, ``12 min``, ``3 h``."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"


def _difference(store: ModelStore) -> str:
    new, old = store.current, store.previous or store.v0
    moved = float(np.linalg.norm(new.weights - old.weights) / max(float(np.linalg.norm(old.weights)), 1e-9))
    before, after = (100 / (1 + math.exp(-min(max(m.threshold, -60.0), 60.0))) for m in (old, new))
    readily = "It offers searches as readily as before"
    if abs(after - before) >= 0.05:
        more_or_less = "less" if after > before else "more"
        readily = f"It offers searches {more_or_less} readily: above {after:.1f} %, before above {before:.1f} %"
    size = f"{moved * 100:.1f} %" if moved >= 0.001 else "less than 0.1 %"
    return f"Since model {old.version} its numbers moved by {size}. {readily}."


def _kept(version: int) -> str:
    return f"model {version}" if version else "the shipped model"
