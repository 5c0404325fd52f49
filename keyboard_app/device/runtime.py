"""The device's own life: waits for its conditions, takes part in rounds, keeps its keyboard on the newest model.

One :class:`DeviceRuntime` belongs to one keyboard. Fleets call :meth:`DeviceRuntime.step` when it asks to be called;
the window lets :meth:`DeviceRuntime.run_in_background` do so on a thread that sleeps in between and stops at once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from data_logging.errors import LogError
from keyboard_app.device.conditions import Conditions
from keyboard_app.device.federated_client import Participation
from keyboard_app.device.history import History
from keyboard_app.device.history import Participation as HistoryEntry
from keyboard_app.device.identity import HOLDBACK, DeviceIdentity, IdentityError
from keyboard_app.device.local_work import LocalWorker
from keyboard_app.device.model_store import ModelStore, StoredModel
from keyboard_app.device.participation_states import ClientState, End, EndKind, Equipment
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.privacy_budget import PrivacyBudget
from keyboard_app.device.release_client import ReleaseClient
from keyboard_app.device.schedule import Decision, Material, Schedule, ScheduleSetting, WaitReason
from keyboard_app.device.transport import Transport

if TYPE_CHECKING:
    from data_logging import ImpressionLog
    from suggestion_model.bundle import Bundle
    from suggestion_model.runtime import Ranker


class ModelUser(Protocol):
    """Whatever ranks with the model: :class:`keyboard_app.suggestions.SuggestionEngine`."""

    def use_model(self, version: int, weights: NDArray[np.float32], threshold: float, arm: str) -> None:
        """Rank with these weights from the next key press on."""
        ...


@dataclass(frozen=True, slots=True)
class Enrolment:
    """How to get a certificate where none is there yet."""

    authority_url: str
    token: str


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What the device is doing, for its owner's eyes."""

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
    privacy: str = ""
    """Epsilon spent so far, at which delta and under which assumption, or that nothing is guaranteed."""


class DeviceRuntime:
    """One device.

    Args:
        home: its folder: identity, certificate, models, history.
        coordinator_url: where rounds are.
        identity: from :meth:`DeviceIdentity.open`.
        policy: limits pinned here.
        bundle: the release on this device.
        engine: told of every new model; None where nothing ranks.
        log: the local log.
        conditions: may it work now?
        clock: Unix time in seconds, compared with the coordinator's; not the clock of simulated typing.
        monotonic: seconds, for waiting.
        schedule: how eager it is.
        enrolment: where to get a certificate, if it has none.
        training_ranker: a ranker shared by the devices of one thread for training alone; by default each makes its
            own for as long as a round needs it.
        transport: by default made from ``coordinator_url``.
        rng: for jitter and the order of examples; never for secrets.

    Raises:
        ValueError: ``coordinator_url`` is no http(s) address.
        OSError: ``home`` cannot be used.
    """

    def __init__(
        self,
        home: Path,
        coordinator_url: str,
        identity: DeviceIdentity,
        policy: DevicePolicy,
        bundle: Bundle,
        engine: ModelUser | None,
        log: ImpressionLog,
        conditions: Conditions,
        clock: Callable[[], float] = time.time,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        schedule: ScheduleSetting | None = None,
        enrolment: Enrolment | None = None,
        training_ranker: Ranker | None = None,
        transport: Transport | None = None,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng if rng is not None else random.Random()
        self._identity = identity
        self._policy = policy
        self._engine = engine
        self._log = log
        self._conditions = conditions
        self._clock = clock
        self._monotonic = monotonic
        self._enrolment = enrolment
        self._schedule = Schedule(schedule or ScheduleSetting(), rng)
        self._history = History(home / "rounds.json")
        self._budget = PrivacyBudget(home / "privacy.json", policy.epsilon_cap, policy.delta)
        self._problem = ""
        self._lasting = False
        self._transport = transport if transport is not None else Transport(coordinator_url)
        releases = ReleaseClient.of(home, self._transport.release_metadata, clock)
        self._store = ModelStore(
            home / "models",
            bundle.digest,
            bundle.weights0,
            bundle.threshold0,
            report=self._note_problem,
            check_release=None if releases is None else releases.check,
        )
        self.arm = identity.arm()
        shuffles = np.random.default_rng(rng.getrandbits(63))
        self._equipment = Equipment(
            transport=self._transport,
            identity=identity,
            policy=policy,
            store=self._store,
            worker=LocalWorker(bundle, log, policy.most_examples, training_ranker, shuffles),
            log=log,
            history=self._history,
            budget=self._budget,
            on_model=self._use,
            clock=clock,
            monotonic=monotonic,
            should_stop=self._must_stop,
        )
        self._participation: Participation | None = None
        self._decision: Decision | None = None
        self._last_joined = ""
        self._ranking_version = 0
        self._conditions_asked_at = -float("inf")
        self._conditions_allow = True
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._listener: Callable[[DeviceStatus], None] = lambda status: None
        self._use(self._store.current)
        self._status = self._describe(0.0)

    # -- the face ----------------------------------------------------------------------------------------------

    @property
    def status(self) -> DeviceStatus:
        """What the device is doing; safe to read from any thread, cheap enough for every frame."""
        return self._status

    @property
    def store(self) -> ModelStore:
        """The models on this device."""
        return self._store

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The rounds this device put a masked input into, oldest first."""
        return self._history.entries

    def step(self) -> float:
        """Do what is due.

        Returns:
            Seconds until it wants to be called again. Calling earlier does no harm. It never takes longer than one
            HTTP request, or one local training.
        """
        wait = self._step()
        self._publish(wait)
        return wait

    def poke(self) -> None:
        """Look again now: a switch was flipped, a line was sent."""
        self._wake.set()

    def run_in_background(self, on_change: Callable[[DeviceStatus], None] | None = None) -> None:
        """Step on a daemon thread until :meth:`stop`.

        Args:
            on_change: called on that thread with the new status whenever its line changes.
        """
        if self._thread is not None:
            return
        if on_change is not None:
            self._listener = on_change
        self._stopping.clear()
        self._transport.resume()
        self._thread = threading.Thread(target=self._loop, name="device", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 0.1) -> bool:
        """Leave the round, forget its secrets and end the thread; training and requests in flight are cut short.

        Returns:
            Whether the thread ended within ``timeout_s``; if not, it ends by itself shortly after.
        """
        self._stopping.set()
        self._wake.set()
        self._transport.interrupt()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
            if thread.is_alive():
                return False
        if self._participation is not None:
            self._participation.leave("stopped")
            self._participation = None
        self._transport.close()
        return True

    # -- stepping ----------------------------------------------------------------------------------------------

    def _step(self) -> float:
        participation = self._participation
        if participation is None:
            return self._wait_or_begin()
        missing = self._conditions.now().missing
        if missing is not None and not participation.committed and self._wants_round():
            participation.leave(f"left the round: {missing}")
        wait = participation.step()
        if participation.end is None:
            return wait
        self._participation = None
        self._conclude(participation.end)
        self._decision = self._schedule.decide(self._monotonic(), self._conditions.now(), self._material)
        return self._decision.wait_s

    def _wait_or_begin(self) -> float:
        now = self._monotonic()
        if not self._identity.enrolment(self._clock()).enrolled and not self._enrol(now):
            return self._schedule.setting.conditions_poll_s if self._enrolment is None else self._held(now)
        self._decision = self._schedule.decide(now, self._conditions.now(), self._material)
        if not self._decision.check_in:
            return self._decision.wait_s
        self._participation = Participation(self._equipment, self._decision.wants_round)
        return 0.0

    def _wants_round(self) -> bool:
        return self._decision is not None and self._decision.wants_round

    def _held(self, now: float) -> float:
        decision = self._schedule.decide(now, self._conditions.now(), lambda: Material(0, 0))
        return max(decision.wait_s, 0.05)

    def _enrol(self, now: float) -> bool:
        """Look for a certificate that was placed meanwhile, else ask the authority; True when there is one now."""
        if self._identity.look_again() and self._identity.enrolment(self._clock()).enrolled:
            return True
        if self._enrolment is None or self._schedule.is_held(now):
            return False
        try:
            self._identity.enrol(self._enrolment.authority_url, self._enrolment.token)
        except (IdentityError, OSError) as problem:
            self._note_problem(str(problem) if isinstance(problem, IdentityError) else "the certificate was not kept")
            self._schedule.failed(now)
            return False
        self._problem = ""
        return True

    def _material(self) -> Material:
        try:
            summary = self._log.summary()
            lines = sum(row.lines for row in self._log.usage_unreported())
        except LogError as problem:
            self._note_problem(str(problem))
            return Material(0, 0)
        return Material(summary.shown, lines)

    def _conclude(self, end: End) -> None:
        """Tell the schedule how a participation ended."""
        now = self._monotonic()
        schedule = self._schedule
        hopeless = end.kind in (EndKind.UNREACHABLE, EndKind.BAD_ANSWER, EndKind.UPGRADE)
        if hopeless or end.plan_refusal is not None or (end.kind is EndKind.REFUSED and not end.selected):
            # Nothing gets better by asking often: back off further each time.
            self._problem, self._lasting = end.sentence, end.plan_refusal is not None
            schedule.failed(now)
            return
        schedule.checked_in(now)
        if end.kind in (EndKind.ABANDONED, EndKind.LEFT, EndKind.REFUSED):
            self._problem, self._lasting = end.sentence, False
            schedule.come_back(now, schedule.setting.backoff_first_s)
            return
        if end.kind is EndKind.FINISHED:
            schedule.joined(now)
            self._last_joined = end.sentence
        elif end.kind is EndKind.COME_BACK:
            schedule.come_back(now, end.after_s)
        if end.problem or end.kind is EndKind.FINISHED or not self._lasting:
            self._problem, self._lasting = end.problem, False

    def _must_stop(self) -> bool:
        if self._stopping.is_set():
            return True
        now = self._monotonic()
        if now - self._conditions_asked_at > 0.5:
            self._conditions_asked_at = now
            self._conditions_allow = self._conditions.now().allow_training
        return not self._conditions_allow

    def _use(self, model: StoredModel) -> None:
        """Hot swap: the next key press is ranked by this model, or by v0 in the holdback."""
        chosen = self._store.v0 if self.arm == HOLDBACK else model
        self._ranking_version = chosen.version
        if self._engine is not None:
            self._engine.use_model(chosen.version, chosen.weights, chosen.threshold, self.arm)

    def _note_problem(self, sentence: str) -> None:
        self._problem = sentence

    # -- the thread --------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                wait = self.step()
            except Exception as problem:
                # The keyboard must go on whatever happens here; a type's name can hold nothing typed.
                if self._participation is not None:
                    self._participation.leave("an unexpected error")
                    self._participation = None
                self._note_problem(f"unexpected {type(problem).__name__}, trying again later")
                self._schedule.failed(self._monotonic())
                wait = 1.0
                self._publish(wait)
            self._wake.wait(wait)
        if self._participation is not None:
            self._participation.leave("stopped")
            self._participation = None

    # -- saying what is going on -------------------------------------------------------------------------------

    def _publish(self, wait: float) -> None:
        before = self._status.line
        self._status = self._describe(wait)
        if self._status.line != before:
            self._listener(self._status)

    def _describe(self, wait: float) -> DeviceStatus:
        entries = self._history.entries
        last = next((entry for entry in reversed(entries) if entry.bytes_up), None)
        version = self._store.current.version
        traffic = self._transport.traffic
        holdback = f" (holdback: ranks with {self._ranking_version})" if self.arm == HOLDBACK else ""
        words = [f"model {version}{holdback}", self._activity()]
        demo = self._policy.insecure_demo or self._identity.insecure_demo
        if demo:
            words.append("INSECURE DEMO")
        return DeviceStatus(
            line=" · ".join(word for word in words if word),
            phase="waiting" if self._participation is None else self._participation.state.value,
            model_version=version,
            ranking_version=self._ranking_version,
            arm=self.arm,
            rounds_joined=self._history.rounds_joined,
            bytes_up_last_round=0 if last is None else last.bytes_up,
            bytes_down_last_round=0 if last is None else last.bytes_down,
            bytes_up_total=traffic.up,
            bytes_down_total=traffic.down,
            next_step_s=wait,
            problem=self._problem,
            insecure_demo=demo,
            privacy=self._budget.sentence,
        )

    def _activity(self) -> str:
        participation = self._participation
        if participation is not None:
            plan = participation.plan
            if participation.state is ClientState.CHECKING_IN or plan is None:
                return participation.state.value
            detail = participation.state.value
            if participation.examples is not None:
                detail += f", {participation.examples} examples"
            return f"round {plan.round}: {detail}"
        enrolment = self._identity.enrolment(self._clock())
        if not enrolment.enrolled:
            return enrolment.sentence + (f" ({self._problem})" if self._problem else "")
        reason = None if self._decision is None else self._decision.reason
        if reason is WaitReason.CONDITIONS:
            waiting = f"waiting: {self._conditions.now().missing or 'conditions'}"
        elif reason in (WaitReason.BACKING_OFF, WaitReason.COME_BACK) and self._problem:
            waiting = f"waiting: {self._problem}"
        else:
            waiting = f"waiting: {reason.value}" if reason is not None else "waiting"
        return f"{self._last_joined} · {waiting}" if self._last_joined else waiting
