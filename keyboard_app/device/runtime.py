"""The device's own life: waits for its conditions, takes part in rounds, keeps its keyboard on the newest model.

One :class:`DeviceRuntime` belongs to one keyboard. Fleets call :meth:`DeviceRuntime.step` when it asks to be called;
the window lets :meth:`DeviceRuntime.run_in_background` do so on a thread that sleeps in between and stops at once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from data_logging.errors import LogError
from keyboard_app.device.conditions import ConditionReport, Conditions
from keyboard_app.device.federated_client import Participation
from keyboard_app.device.history import History
from keyboard_app.device.history import Participation as HistoryEntry
from keyboard_app.device.identity import HOLDBACK, DeviceIdentity, IdentityError
from keyboard_app.device.local_work import LABELLED, LocalWorker, TrainingProgress, TrainingStoppedError
from keyboard_app.device.model_store import ModelStore, StoredModel
from keyboard_app.device.participation_states import ClientState, End, EndKind, Equipment
from keyboard_app.device.personal_model import PersonalModel, PersonalModelFile, PersonalSetting
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.preferences import PreferenceFile, Preferences
from keyboard_app.device.privacy_budget import PrivacyBudget
from keyboard_app.device.release_client import ReleaseClient
from keyboard_app.device.schedule import Decision, Material, Schedule, ScheduleSetting, WaitReason
from keyboard_app.device.transport import Traffic, Transport
from suggestion_model.errors import SuggestionModelError

if TYPE_CHECKING:
    from data_logging import ImpressionLog
    from suggestion_model.bundle import Bundle
    from suggestion_model.runtime import Ranker


ON_ITS_OWN = "on its own: no coordinator, nothing sent"
"""What a device without a coordinator says of itself."""


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
    reason: WaitReason | None = None
    """Why no round is joined now."""
    next_opportunity_at: float | None = None
    """Unix time in seconds at which the wait that runs out by itself is over; None when it waits for something else."""
    conditions: ConditionReport = field(default_factory=ConditionReport)
    """As of the last step."""
    personal: bool = False
    """Whether it ranks with a model trained further for its owner."""
    pinned: bool = False
    """Whether its owner rolled it back to an older model."""
    can_stop: bool = False
    """Whether something runs that its owner may still stop."""
    alone: bool = False
    """Whether it has no coordinator."""
    privacy: str = ""
    """Epsilon spent so far, at which delta and under which assumption, or that nothing is guaranteed."""


class DeviceRuntime:
    """One device.

    Args:
        home: its folder: identity, certificate, models, history.
        coordinator_url: where rounds are; None for a device on its own, which joins none and sends nothing.
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
        personal: how it trains for its owner, where its owner wants that.
        rng: for jitter and the order of examples; never for secrets.

    Raises:
        ValueError: ``coordinator_url`` is no http(s) address.
        OSError: ``home`` cannot be used.
    """

    def __init__(
        self,
        home: Path,
        coordinator_url: str | None,
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
        personal: PersonalSetting | None = None,
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
        if transport is None and coordinator_url is not None:
            transport = Transport(coordinator_url)
        self._transport = transport
        releases = None if transport is None else ReleaseClient.of(home, transport.release_metadata, clock)
        self._store = ModelStore(
            home / "models",
            bundle.digest,
            bundle.weights0,
            bundle.threshold0,
            report=self._note_problem,
            check_release=None if releases is None else releases.check,
        )
        self._preferences = PreferenceFile(home / "decisions.json")
        self._personal_setting = personal or PersonalSetting()
        self._personal = PersonalModelFile(home / "models" / "personal.msgpack", self._store.dimension)
        self._personal_due_at = -float("inf")
        self._personal_tried: tuple[int, str, int] | None = None
        self._training_for_owner = False
        self._stop_wanted = threading.Event()
        self.arm = identity.arm()
        shuffles = np.random.default_rng(rng.getrandbits(63))
        self._worker = LocalWorker(bundle, log, policy.most_examples, training_ranker, shuffles)
        self._equipment = (
            None
            if transport is None
            else Equipment(
                transport=transport,
                identity=identity,
                policy=policy,
                store=self._store,
                worker=self._worker,
                log=log,
                history=self._history,
                budget=self._budget,
                on_model=self._arrived,
                clock=clock,
                monotonic=monotonic,
                should_stop=self._must_stop,
            )
        )
        self._participation: Participation | None = None
        self._decision: Decision | None = None
        self._last_joined = ""
        self._ranking_version = 0
        self._ranks_personally = False
        self._report = ConditionReport()
        self._conditions_asked_at = -float("inf")
        self._conditions_allow = True
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._listener: Callable[[DeviceStatus], None] = lambda status: None
        self._use()
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

    @property
    def policy(self) -> DevicePolicy:
        """The limits pinned on this device."""
        return self._policy

    @property
    def preferences(self) -> Preferences:
        """What the owner decided."""
        return self._preferences.current

    @property
    def personal_model(self) -> PersonalModel | None:
        """The last model trained for the owner alone, whether or not it is in use."""
        return self._personal.current

    @property
    def progress(self) -> TrainingProgress | None:
        """How far local training is; None while none runs."""
        return self._worker.progress

    def prefer(
        self, *, learning: bool | None = None, sending: bool | None = None, personal: bool | None = None
    ) -> None:
        """The owner decides; what runs against the decision is stopped.

        Raises:
            LogError, OSError: the decision holds, but cannot be kept beyond the end of the app.
        """
        before = self._preferences.current
        try:
            self._preferences.change(learning=learning, sending=sending, personal=personal)
        finally:
            after = self._preferences.current
            if (before.learning and not after.learning) or (before.sending and not after.sending):
                self._stop_wanted.set()
                self._end_waiting()
            self._use()
            self._publish(self._status.next_step_s)
            self.poke()
        if learning is not None:
            self._log.set_enabled(learning)

    def stop_training(self) -> None:
        """Stop the training, or leave the round, that runs now; for a while nothing new is begun.

        Once a masked update is sent, leaving would only harm the others' sum: the round is then seen through.
        """
        if self._status.can_stop or self._worker.progress is not None:
            self._stop_wanted.set()
            self._end_waiting()
            self.poke()

    def roll_back(self, model: StoredModel | None) -> None:
        """Rank with ``model`` from the next key press on, whatever arrives; None follows the newest again.

        Raises:
            OSError: it cannot be kept; nothing has changed.
        """
        self._store.pin(model)
        self._use()
        self._publish(self._status.next_step_s)

    def forget_round(self, session: str) -> None:
        """Delete one round from the history.

        Raises:
            OSError: the file cannot be written.
        """
        self._history.delete(session, self._clock())

    def forget_everything(self) -> None:
        """Delete the history of rounds and the personal model. The owner's decisions stay.

        Raises:
            OSError: a file cannot be written.
        """
        self._history.erase(self._clock())
        self._personal.erase()
        self._personal_tried = None
        self._use()
        self._publish(self._status.next_step_s)

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

    def _end_waiting(self) -> None:
        """End a request whose answer the coordinator may hold back for long."""
        if self._transport is not None:
            self._transport.cut_short()

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
        if self._transport is not None:
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
        if self._transport is not None:
            self._transport.interrupt()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
            if thread.is_alive():
                return False
        if self._participation is not None:
            self._participation.leave("stopped")
            self._participation = None
        if self._transport is not None:
            self._transport.close()
        return True

    # -- stepping ----------------------------------------------------------------------------------------------

    def _step(self) -> float:
        participation = self._participation
        if participation is None:
            if self._stop_wanted.is_set():
                self._stop_wanted.clear()
            return self._wait_or_begin()
        if self._stop_wanted.is_set() and not participation.committed:
            participation.leave("stopped by you")
        missing = self._conditions.now().missing
        if missing is not None and not participation.committed and self._wants_round():
            participation.leave(f"left the round: {missing}")
        wait = participation.step()
        if participation.end is None:
            return wait
        self._participation = None
        self._conclude(participation.end)
        self._decision = self._decide(self._monotonic())
        return self._decision.wait_s

    def _decide(self, now: float) -> Decision:
        self._report = self._conditions.now()
        return self._schedule.decide(now, self._report, self._material, self._declined())

    def _declined(self) -> WaitReason | None:
        """Why the owner wants no round."""
        if not self.preferences.learning:
            return WaitReason.PAUSED
        return None if self.preferences.sending else WaitReason.NOT_SENDING

    def _wait_or_begin(self) -> float:
        now = self._monotonic()
        if self._personal_is_due(now):
            return self._personalise(now)
        if self._equipment is None:
            self._report = self._conditions.now()
            return self._schedule.setting.conditions_poll_s
        if not self._identity.enrolment(self._clock()).enrolled and not self._enrol(now):
            return self._schedule.setting.conditions_poll_s if self._enrolment is None else self._held(now)
        self._decision = self._decide(now)
        if not self._decision.check_in:
            return self._decision.wait_s
        self._participation = Participation(self._equipment, self._decision.wants_round)
        return 0.0

    def _wants_round(self) -> bool:
        return self._decision is not None and self._decision.wants_round

    def _held(self, now: float) -> float:
        decision = self._schedule.decide(now, self._conditions.now(), lambda: Material(0, 0))
        return max(decision.wait_s, 0.05)

    # -- the personal model ------------------------------------------------------------------------------------

    def _personal_is_due(self, now: float) -> bool:
        """Whether there is something new to learn for the owner, and it may be done now."""
        if not self.preferences.personalises or self.arm == HOLDBACK:
            return False
        if now < self._personal_due_at or not self._conditions.now().allow_training:
            return False
        return self._to_learn_from() != self._personal_tried

    def _to_learn_from(self) -> tuple[int, str, int] | None:
        """The shared model and the newest labelled offer; what was learned from the same before is not repeated."""
        try:
            newest = self._log.impressions(outcomes=LABELLED, newest_first=True, limit=1)
        except LogError as problem:
            self._note_problem(str(problem))
            return self._personal_tried
        base = self._store.in_use
        return (base.version, base.digest, newest[0].id if newest else 0)

    def _personalise(self, now: float) -> float:
        """Train for the owner, once; nothing of it is sent."""
        base, material = self._store.in_use, self._to_learn_from()
        self._training_for_owner = True
        self._publish(0.0)
        try:
            model = self._worker.personalise(base, self._personal_setting, self._clock(), self._must_stop)
            if model is not None and self.preferences.personalises:
                self._personal.put(model)
        except TrainingStoppedError:
            if self._stop_wanted.is_set():
                self._stop_wanted.clear()
                self._personal_due_at = now + self._schedule.setting.rest_after_stop_s
                self._schedule.stopped(now)
                return self._schedule.setting.conditions_poll_s
        except (LogError, OSError, SuggestionModelError) as problem:
            self._note_problem(f"the personal model was not kept ({type(problem).__name__})")
        finally:
            self._training_for_owner = False
            self._worker.release()
        self._personal_tried = material
        self._personal_due_at = now + self._schedule.setting.personal_interval_s
        self._use()
        return 0.0

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
        if self._stop_wanted.is_set() and end.kind is EndKind.LEFT:
            self._stop_wanted.clear()
            self._problem, self._lasting = "", False
            schedule.checked_in(now)
            schedule.stopped(now)
            return
        self._stop_wanted.clear()
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
        if self._stopping.is_set() or self._stop_wanted.is_set():
            return True
        now = self._monotonic()
        if now - self._conditions_asked_at > 0.5:
            self._conditions_asked_at = now
            self._conditions_allow = self._conditions.now().allow_training
        return not self._conditions_allow

    def _arrived(self, _model: StoredModel) -> None:
        """A newer model is stored."""
        self._use()

    def _use(self) -> None:
        """Hot swap: the next key press is ranked by the newest model or the one rolled back to, trained further for
        the owner where the owner wants that; in the holdback by v0."""
        chosen = self._store.v0 if self.arm == HOLDBACK else self._store.in_use
        weights, personal = chosen.weights, self._personal.current
        self._ranks_personally = (
            self.arm != HOLDBACK
            and self.preferences.personalises
            and personal is not None
            and personal.kept
            and personal.grew_from(chosen)
        )
        if self._ranks_personally and personal is not None:
            weights = personal.array()
        self._ranking_version = chosen.version
        if self._engine is not None:
            self._engine.use_model(chosen.version, weights, chosen.threshold, self.arm)

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
        traffic = self._transport.traffic if self._transport is not None else Traffic()
        holdback = f" (holdback: ranks with {self._ranking_version})" if self.arm == HOLDBACK else ""
        rolled_back = f" (rolled back to {self._ranking_version})" if self._is_pinned() else ""
        words = [f"model {version}{holdback or rolled_back}", self._activity()]
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
            reason=self._declined() or (None if self._decision is None else self._decision.reason),
            next_opportunity_at=self._next_opportunity_at(),
            conditions=self._report,
            personal=self._ranks_personally,
            pinned=self._is_pinned(),
            can_stop=self._training_for_owner
            or (self._participation is not None and not self._participation.committed),
            alone=self._equipment is None,
            privacy=self._budget.sentence,
        )

    def _is_pinned(self) -> bool:
        return self.arm != HOLDBACK and self._store.pinned is not None

    def _next_opportunity_at(self) -> float | None:
        left = self._schedule.next_opportunity_s(self._monotonic())
        return None if left is None or self._equipment is None else self._clock() + left

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
        if self._training_for_owner:
            return "training for you alone"
        if self._equipment is None:
            return f"{ON_ITS_OWN}{'' if self.preferences.learning else ' · ' + WaitReason.PAUSED.value}"
        enrolment = self._identity.enrolment(self._clock())
        if not enrolment.enrolled:
            return enrolment.sentence + (f" ({self._problem})" if self._problem else "")
        declined = self._declined()
        if declined is not None:
            return declined.value
        reason = None if self._decision is None else self._decision.reason
        if reason is WaitReason.CONDITIONS:
            waiting = f"waiting: {self._conditions.now().missing or 'conditions'}"
        elif reason in (WaitReason.BACKING_OFF, WaitReason.COME_BACK) and self._problem:
            waiting = f"waiting: {self._problem}"
        else:
            waiting = f"waiting: {reason.value}" if reason is not None else "waiting"
        return f"{self._last_joined} · {waiting}" if self._last_joined else waiting
