"""The device's own life: waits for its conditions, takes part in rounds, keeps its keyboard on the newest model.

One :class:`DeviceRuntime` belongs to one keyboard. Fleets call :meth:`DeviceRuntime.step` when it asks to be called;
the window lets :meth:`DeviceRuntime.run_in_background` do so on a thread that sleeps in between and stops at once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keyboard_app.device.background import Background
from keyboard_app.device.conditions import ConditionReport, Conditions
from keyboard_app.device.history import History, HistoryEntry
from keyboard_app.device.identity import HOLDBACK, DeviceIdentity
from keyboard_app.device.local_training import LocalTrainer, TrainingProgress
from keyboard_app.device.local_work import LocalWorker
from keyboard_app.device.model_store import ModelStore, StoredModel
from keyboard_app.device.pace import Pace
from keyboard_app.device.participation_states import Equipment
from keyboard_app.device.personal_model import PersonalModel, PersonalModelFile
from keyboard_app.device.personal_training import PersonalTraining
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.preferences import PreferenceFile, Preferences
from keyboard_app.device.privacy_budget import PrivacyBudget
from keyboard_app.device.ranking_choice import ModelUser, RankingChoice
from keyboard_app.device.release_client import ReleaseClient
from keyboard_app.device.round_attendance import Enrolment, RoundAttendance, why_no_round
from keyboard_app.device.schedule import Schedule, ScheduleSetting, WaitReason
from keyboard_app.device.sparse_descent import SparseDescent
from keyboard_app.device.status import ON_ITS_OWN, DeviceStatus, Trouble
from keyboard_app.device.transport import Traffic, Transport
from keyboard_app.device.unfinished_training import UnfinishedTraining
from keyboard_app.device.workbench import TrainingStoppedError, Workbench

if TYPE_CHECKING:
    from data_logging import ImpressionLog
    from suggestion_model.bundle import Bundle
    from suggestion_model.runtime import Ranker


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
        rng: random.Random | None = None,
    ) -> None:
        rng = rng if rng is not None else random.Random()
        self._identity = identity
        self._policy = policy
        self._log = log
        self._conditions = conditions
        self._monotonic = monotonic
        self._clock = clock
        self._trouble = Trouble()
        self._schedule = Schedule(schedule or ScheduleSetting(), rng)
        self._history = History(home / "rounds.json")
        self._budget = PrivacyBudget(home / "privacy.json", policy.epsilon_cap, policy.delta)
        if transport is None and coordinator_url is not None:
            transport = Transport(coordinator_url)
        self._transport = transport
        releases = None if transport is None else ReleaseClient.of(home, transport.release_metadata, clock)
        self._store = ModelStore(
            home / "models",
            bundle.digest,
            bundle.weights0,
            bundle.threshold0,
            report=self._trouble.note,
            check_release=None if releases is None else releases.check,
            heads=bundle.heads,
        )
        self._preferences = PreferenceFile(home / "decisions.json")
        self._personal = PersonalModelFile(home / "models" / "personal.msgpack")
        self._choice = RankingChoice(self._store, self._personal, self._preferences, identity.arm(), engine)
        shuffles = np.random.default_rng(rng.getrandbits(63))
        self._stop_wanted = threading.Event()
        self._background = Background(self._guarded_step, self._leave_at_the_end)
        bench = Workbench(bundle, log, policy.most_examples, training_ranker)
        self._trainer = LocalTrainer(
            bench,
            UnfinishedTraining(home / "models" / "unfinished.msgpack"),
            Pace(self._schedule.setting.training_share, pause=self._background.pause),
            shuffles,
        )
        self._personal_training = PersonalTraining(
            log,
            bench,
            self._trainer,
            self._personal,
            self._choice,
            self._schedule.setting.personal_interval_s,
            clock,
            self._trouble.note,
        )
        self._conditions_asked_at = -float("inf")
        self._conditions_allow = True
        self._attendance: RoundAttendance | None = None
        if transport is not None:
            equipment = Equipment(
                transport=transport,
                identity=identity,
                policy=policy,
                store=self._store,
                worker=LocalWorker(bench, log, self._trainer, SparseDescent(bench, self._trainer.pace, shuffles)),
                log=log,
                history=self._history,
                budget=self._budget,
                on_model=self._arrived,
                clock=clock,
                monotonic=monotonic,
                holdback=self.arm == HOLDBACK,
                should_stop=self._must_stop,
            )
            self._attendance = RoundAttendance(
                equipment,
                self._schedule,
                conditions,
                self._preferences,
                log,
                enrolment,
                self._trouble,
                self._stop_wanted.is_set,
            )
        self._report = ConditionReport()
        self._listener: Callable[[DeviceStatus], None] = lambda status: None
        self._status = self._describe(0.0)

    # -- the face ----------------------------------------------------------------------------------------------

    @property
    def status(self) -> DeviceStatus:
        """What the device is doing; safe to read from any thread, cheap enough for every frame."""
        return self._status

    @property
    def arm(self) -> str:
        """Experiment arm of this device."""
        return self._choice.arm

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
        return self._trainer.progress

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
            self._choice.apply()
            self._publish(self._status.next_step_s)
            self.poke()
        if learning is not None:
            self._log.set_enabled(learning)

    def stop_training(self) -> None:
        """Stop the training, or leave the round, that runs now; for a while nothing new is begun.

        Once a masked update is sent, leaving would only harm the others' sum: the round is then seen through.
        """
        if self._status.can_stop or self._trainer.progress is not None:
            self._stop_wanted.set()
            self._end_waiting()
            self.poke()

    def roll_back(self, model: StoredModel | None) -> None:
        """Rank with ``model`` from the next key press on, whatever arrives; None follows the newest again.

        Raises:
            OSError: it cannot be kept; nothing has changed.
        """
        self._store.pin(model)
        self._choice.apply()
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
        self._personal_training.forget()
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
        self._background.poke()

    def _end_waiting(self) -> None:
        """End a request whose answer the coordinator may hold back for long."""
        if self._transport is not None:
            self._transport.cut_short()

    def run_in_background(self, on_change: Callable[[DeviceStatus], None] | None = None) -> None:
        """Step on a daemon thread until :meth:`stop`.

        Args:
            on_change: called on that thread with the new status whenever its line changes.
        """
        if self._background.running:
            return
        if on_change is not None:
            self._listener = on_change
        if self._transport is not None:
            self._transport.resume()
        self._background.start()

    def stop(self, timeout_s: float = 0.1) -> bool:
        """Leave the round, forget its secrets and end the thread; training and requests in flight are cut short.

        Returns:
            Whether the thread ended within ``timeout_s``; if not, it ends by itself shortly after.
        """
        self._background.tell_to_stop()
        if self._transport is not None:
            self._transport.interrupt()
        if not self._background.join(timeout_s):
            return False
        self._leave_at_the_end()
        if self._transport is not None:
            self._transport.close()
        return True

    # -- stepping ----------------------------------------------------------------------------------------------

    def _step(self) -> float:
        attendance = self._attendance
        busy = attendance is not None and attendance.participation is not None
        if not busy:
            self._stop_wanted.clear()
            now = self._monotonic()
            if self._conditions.now().allow_training and self._personal_training.is_due(now):
                return self._train_for_the_owner(now)
        if attendance is None:
            self._report = self._conditions.now()
            return self._schedule.setting.conditions_poll_s
        wait = attendance.step()
        if busy and attendance.participation is None:
            self._stop_wanted.clear()
        self._report = attendance.report
        return wait

    def _train_for_the_owner(self, now: float) -> float:
        try:
            self._personal_training.train(now, lambda: self._must_stop(), lambda: self._publish(0.0))
        except TrainingStoppedError:
            if self._stop_wanted.is_set():
                self._stop_wanted.clear()
                self._personal_training.rest(now + self._schedule.setting.rest_after_stop_s)
                self._schedule.stopped(now)
                return self._schedule.setting.conditions_poll_s
        return 0.0

    def _must_stop(self) -> bool:
        if self._background.stopping or self._stop_wanted.is_set():
            return True
        now = self._monotonic()
        if now - self._conditions_asked_at > 0.5:
            self._conditions_asked_at = now
            self._conditions_allow = self._conditions.now().allow_training
        return not self._conditions_allow

    def _arrived(self, _model: StoredModel) -> None:
        """A newer model is stored."""
        self._choice.apply()

    def _guarded_step(self) -> float:
        try:
            return self.step()
        except Exception as problem:
            # The keyboard must go on whatever happens here; a type's name can hold nothing typed.
            if self._attendance is not None:
                self._attendance.leave("an unexpected error")
            self._trouble.note(f"unexpected {type(problem).__name__}, trying again later")
            self._schedule.failed(self._monotonic())
            self._publish(1.0)
            return 1.0

    def _leave_at_the_end(self) -> None:
        if self._attendance is not None:
            self._attendance.leave("stopped")

    # -- saying what is going on -------------------------------------------------------------------------------

    def _publish(self, wait: float) -> None:
        before = self._status.line
        self._status = self._describe(wait)
        if self._status.line != before:
            self._listener(self._status)

    def _describe(self, wait: float) -> DeviceStatus:
        entries = self._history.entries
        last = next((entry for entry in reversed(entries) if entry.bytes_up), None)
        version, ranking = self._store.current.version, self._choice.version
        traffic = self._transport.traffic if self._transport is not None else Traffic()
        holdback = f" (holdback: ranks with {ranking})" if self.arm == HOLDBACK else ""
        rolled_back = f" (rolled back to {ranking})" if self._choice.is_pinned else ""
        words = [f"model {version}{holdback or rolled_back}", self._activity()]
        demo = self._policy.insecure_demo or self._identity.insecure_demo
        if demo:
            words.append("INSECURE DEMO")
        attendance = self._attendance
        participation = None if attendance is None else attendance.participation
        decision = None if attendance is None else attendance.decision
        return DeviceStatus(
            line=" · ".join(word for word in words if word),
            phase="waiting" if participation is None else participation.state.value,
            model_version=version,
            ranking_version=ranking,
            arm=self.arm,
            rounds_joined=self._history.rounds_joined,
            bytes_up_last_round=0 if last is None else last.bytes_up,
            bytes_down_last_round=0 if last is None else last.bytes_down,
            bytes_up_total=traffic.up,
            bytes_down_total=traffic.down,
            next_step_s=wait,
            problem=self._trouble.sentence,
            insecure_demo=demo,
            last_end=None if attendance is None else attendance.last_end,
            reason=why_no_round(self.preferences) or (None if decision is None else decision.reason),
            next_opportunity_at=None if attendance is None else attendance.next_opportunity_at(),
            conditions=self._report,
            personal=self._choice.is_personal,
            pinned=self._choice.is_pinned,
            can_stop=self._personal_training.running or (attendance is not None and attendance.can_stop),
            alone=attendance is None,
            privacy=self._budget.sentence,
        )

    def _activity(self) -> str:
        attendance = self._attendance
        if attendance is not None and attendance.participation is not None:
            return attendance.activity()
        if self._personal_training.running:
            return "learning for you alone"
        if attendance is None:
            return f"{ON_ITS_OWN}{'' if self.preferences.learning else ' · ' + WaitReason.PAUSED.value}"
        return attendance.activity()
