"""Taking part in rounds: when to check in, one participation after the other, and what each end means for the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_logging.errors import LogError
from keyboard_app.device.conditions import ConditionReport, Conditions
from keyboard_app.device.identity import IdentityError
from keyboard_app.device.participation import Participation
from keyboard_app.device.participation_states import ClientState, End, EndKind, Equipment
from keyboard_app.device.preferences import PreferenceFile, Preferences
from keyboard_app.device.schedule import Decision, Material, Schedule, WaitReason
from keyboard_app.device.status import Trouble

if TYPE_CHECKING:
    from data_logging import ImpressionLog


RENEWAL_PAUSE_S = 6 * 3600.0
"""Shortest time between two requests for the next identity key."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """How to get a certificate where none is there yet."""

    authority_url: str
    token: str


def why_no_round(decided: Preferences) -> WaitReason | None:
    """Why the owner wants no round; None when there is no objection."""
    if not decided.learning:
        return WaitReason.PAUSED
    return None if decided.sending else WaitReason.NOT_SENDING


class RoundAttendance:
    """One participation after the other, each begun when the schedule, the conditions and the owner allow it.

    Args:
        equipment: what a participation uses.
        schedule: remembers what happened and says when to check in.
        conditions: may it work now?
        preferences: what the owner decided.
        log: says whether there is anything to bring.
        enrolment: where to get a certificate, if there is none.
        trouble: where what goes wrong is noted.
        stop_wanted: whether the owner wants what runs stopped.
    """

    def __init__(
        self,
        equipment: Equipment,
        schedule: Schedule,
        conditions: Conditions,
        preferences: PreferenceFile,
        log: ImpressionLog,
        enrolment: Enrolment | None,
        trouble: Trouble,
        stop_wanted: Callable[[], bool],
    ) -> None:
        self.equipment = equipment
        self.schedule = schedule
        self._conditions = conditions
        self._preferences = preferences
        self._log = log
        self._enrolment = enrolment
        self._trouble = trouble
        self._stop_wanted = stop_wanted
        self.participation: Participation | None = None
        """The one that runs."""
        self.decision: Decision | None = None
        """The schedule's last answer."""
        self.report = ConditionReport()
        """Conditions as of the last step."""
        self.last_end: EndKind | None = None
        """How the last participation ended."""
        self._lasting = False
        self._last_joined = ""
        self._next_renewal = -float("inf")
        self._rest()

    @property
    def can_stop(self) -> bool:
        """Whether a participation runs that may be left without harm to the others."""
        return self.participation is not None and not self.participation.committed

    def step(self) -> float:
        """Do what is due; returns the seconds until it wants to be called again."""
        participation = self.participation
        if participation is None:
            return self._wait_or_begin()
        if self._stop_wanted() and not participation.committed:
            participation.leave("stopped by you")
        missing = self._conditions.now().missing
        if missing is not None and not participation.committed and self._wants_round():
            participation.leave(f"left the round: {missing}")
        wait = participation.step()
        if participation.end is None:
            return wait
        self.participation = None
        self._conclude(participation.end)
        self.decision = self._decide(self.equipment.monotonic())
        return self.decision.wait_s

    def leave(self, why: str) -> None:
        """Leave the round that runs and forget its secrets."""
        if self.participation is not None:
            self.participation.leave(why)
            self.participation = None

    def next_opportunity_at(self) -> float | None:
        """Unix time in seconds at which the wait that runs out by itself is over."""
        left = self.schedule.next_opportunity_s(self.equipment.monotonic())
        return None if left is None else self.equipment.clock() + left

    def activity(self) -> str:
        """What goes on, in words."""
        if self.participation is not None:
            return self._round_in_words(self.participation)
        enrolment = self.equipment.identity.enrolment(self.equipment.clock())
        if not enrolment.enrolled:
            return enrolment.sentence + (f" ({self._trouble.sentence})" if self._trouble.sentence else "")
        declined = why_no_round(self._preferences.current)
        if declined is not None:
            return declined.value
        reason = None if self.decision is None else self.decision.reason
        if reason is WaitReason.CONDITIONS:
            waiting = f"waiting: {self._conditions.now().missing or 'conditions'}"
        elif reason in (WaitReason.BACKING_OFF, WaitReason.COME_BACK) and self._trouble.sentence:
            waiting = f"waiting: {self._trouble.sentence}"
        else:
            waiting = f"waiting: {reason.value}" if reason is not None else "waiting"
        return f"{self._last_joined} · {waiting}" if self._last_joined else waiting

    @staticmethod
    def _round_in_words(participation: Participation) -> str:
        plan, detail = participation.plan, participation.state.value
        if participation.state is ClientState.CHECKING_IN or plan is None:
            return detail
        if participation.examples is not None:
            detail += f", {participation.examples} examples"
        return f"round {plan.round}: {detail}"

    # -- between rounds ----------------------------------------------------------------------------------------

    def _wait_or_begin(self) -> float:
        of, poll_s = self.equipment, self.schedule.setting.conditions_poll_s
        now = of.monotonic()
        if not of.identity.enrolment(of.clock()).enrolled and not self._enrol(now):
            return poll_s if self._enrolment is None else self._held(now)
        self.decision = self._decide(now)
        if not self.decision.check_in:
            return self.decision.wait_s
        self._renew(now)
        self.participation = Participation(of, self.decision.wants_round)
        return 0.0

    def _decide(self, now: float) -> Decision:
        self.report = self._conditions.now()
        return self.schedule.decide(now, self.report, self._material, why_no_round(self._preferences.current))

    def _wants_round(self) -> bool:
        return self.decision is not None and self.decision.wants_round

    def _held(self, now: float) -> float:
        decision = self.schedule.decide(now, self._conditions.now(), lambda: Material(0, 0))
        return max(decision.wait_s, 0.05)

    def _enrol(self, now: float) -> bool:
        """Look for a certificate that was placed meanwhile, else ask the authority; True when there is one now."""
        identity = self.equipment.identity
        if identity.look_again() and identity.enrolment(self.equipment.clock()).enrolled:
            return True
        if self._enrolment is None or self.schedule.is_held(now):
            return False
        try:
            identity.enrol(self._enrolment.authority_url, self._enrolment.token, self.equipment.clock())
        except (IdentityError, OSError) as problem:
            self._trouble.note(str(problem) if isinstance(problem, IdentityError) else "the certificate was not kept")
            self.schedule.failed(now)
            return False
        self._trouble.sentence = ""
        return True

    def _renew(self, now: float) -> None:
        """Change to the next key when the certificate nears its end; a failure is no reason to leave rounds alone."""
        of = self.equipment
        if self._enrolment is None or now < self._next_renewal or not of.identity.renewal_due(of.clock()):
            return
        self._next_renewal = now + RENEWAL_PAUSE_S
        try:
            of.identity.renew(self._enrolment.authority_url, of.clock())
        except (IdentityError, OSError) as problem:
            what = str(problem) if isinstance(problem, IdentityError) else "it was not kept"
            self._trouble.note(f"the next identity key could not be had: {what}")

    def _rest(self) -> None:
        """Rest from the newest masked input on: after a restart too, and also when the coordinator says that it opened
        nothing, which nobody could check."""
        of = self.equipment
        last = of.history.newest_input_at
        if last is not None:
            self.schedule.joined(of.monotonic() - max(0.0, of.clock() - last))

    def _material(self) -> Material:
        try:
            summary = self._log.summary()
            lines = sum(row.lines for row in self._log.usage_unreported())
        except LogError as problem:
            self._trouble.sentence = str(problem)
            return Material(0, 0)
        return Material(summary.shown, lines)

    def _conclude(self, end: End) -> None:
        """Tell the schedule how a participation ended."""
        now, schedule = self.equipment.monotonic(), self.schedule
        self.last_end = end.kind
        if end.contributed:
            self._rest()
        if self._stop_wanted() and end.kind is EndKind.LEFT:
            self._trouble.sentence, self._lasting = "", False
            schedule.checked_in(now)
            schedule.stopped(now)
            return
        hopeless = end.kind in (EndKind.UNREACHABLE, EndKind.BAD_ANSWER, EndKind.UPGRADE)
        if hopeless or end.plan_refusal is not None or (end.kind is EndKind.REFUSED and not end.selected):
            # Nothing gets better by asking often: back off further each time.
            self._trouble.sentence, self._lasting = end.sentence, end.plan_refusal is not None
            schedule.failed(now)
            return
        schedule.checked_in(now)
        if end.kind in (EndKind.ABANDONED, EndKind.LEFT, EndKind.REFUSED):
            self._trouble.sentence, self._lasting = end.sentence, False
            schedule.come_back(now, schedule.setting.backoff_first_s)
            return
        if end.kind is EndKind.FINISHED:
            self._last_joined = end.sentence
        elif end.kind is EndKind.COME_BACK:
            schedule.come_back(now, end.after_s)
        if end.problem or end.kind is EndKind.FINISHED or not self._lasting:
            self._trouble.sentence, self._lasting = end.problem, False
