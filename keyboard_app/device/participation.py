"""One participation: from "I am willing" to the new model, as a machine that is stepped.

Its states and legal moves are in :mod:`keyboard_app.device.participation_states`. A step makes at most one HTTP request
or one piece of computing, and returns the seconds until the next step is wanted. However a participation ends, its
secrets are forgotten; one masked input leaves per round, and only after the intention was written to disk.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from data_logging.errors import LogError
from federated_protocol import wire
from federated_protocol.errors import CodecError, FederatedProtocolError, MalformedMessage
from federated_protocol.messages import (
    Abandoned,
    AbandonReason,
    CheckIn,
    ComeBack,
    Confirmations,
    Finished,
    Mailbox,
    Message,
    ModelNotice,
    Pending,
    Phase,
    PlanAnswer,
    Roster,
    Selected,
    SessionAnswer,
    SignedMessage,
    Survivors,
    UpgradeRequired,
)
from federated_protocol.plan import PROTOCOL_VERSION, Plan, VarianceReduction
from federated_protocol.signing import CHECK_IN, sign
from keyboard_app.device.history import Ending, HistoryEntry
from keyboard_app.device.local_training import Trained
from keyboard_app.device.local_work import Contribution
from keyboard_app.device.model_store import ModelRejectedError, StoredModel
from keyboard_app.device.participation_states import (
    NEXT_PHASE_STATE,
    PHASE_OF_STATE,
    TRANSITIONS,
    ClientState,
    End,
    EndKind,
    Equipment,
)
from keyboard_app.device.policy import PlanRefusal, PlanRefusedError
from keyboard_app.device.sparse_descent import AnchorPoint, read_anchor
from keyboard_app.device.transport import BadAnswer, CoordinatorUnreachable, Refused
from keyboard_app.device.workbench import TrainingStoppedError
from suggestion_model.errors import SuggestionModelError

if TYPE_CHECKING:
    from federated_protocol.secure_aggregation import AggregationClient


wire.prepare(Plan)  # not while a round waits for what follows it


class Participation:
    """Step it until :attr:`end` is set.

    Args:
        equipment: the device's parts.
        wants_round: False asks for news about the current model only.
    """

    def __init__(self, equipment: Equipment, wants_round: bool) -> None:
        self._of = equipment
        self._wants_round = wants_round
        self._started_with = equipment.transport.traffic
        self._state = ClientState.CHECKING_IN
        self._after_refresh: ClientState | End = ClientState.AWAITING_PLAN
        self._notice: ModelNotice | None = None
        self._session = ""
        self._plan: Plan | None = None
        self._model: StoredModel | None = None
        self._baseline: StoredModel | None = None
        self._anchor: AnchorPoint | None = None
        self._trained: Trained | None = None
        self._contribution: Contribution | None = None
        self._aggregation: AggregationClient | None = None
        self._outgoing: SignedMessage | None = None
        self._accepted = False
        self._result: SessionAnswer | None = None
        self._entry: HistoryEntry | None = None
        self._silent_since: float | None = None
        self._silences = 0
        self._refresh_problem = ""
        self.end: End | None = None

    @property
    def state(self) -> ClientState:
        """Where it stands."""
        return self._state

    @property
    def plan(self) -> Plan | None:
        """The round's plan, once accepted."""
        return self._plan

    @property
    def examples(self) -> int | None:
        """Examples trained on, once that is done."""
        return None if self._trained is None else self._trained.examples

    @property
    def committed(self) -> bool:
        """Whether a masked input was made: from here on leaving saves nothing and hurts the round."""
        return self._entry is not None

    def step(self) -> float:
        """Do the next thing.

        Returns:
            Seconds until the next step is wanted; 0 when :attr:`end` is set.
        """
        if self.end is not None:
            return 0.0
        try:
            wait = self._STEPS[self._state](self)
        except CoordinatorUnreachable as problem:
            return self._keep_trying(problem)
        except Refused as problem:
            self._finish(EndKind.REFUSED, str(problem))
        except BadAnswer as problem:
            self._finish(EndKind.BAD_ANSWER, str(problem))
        except PlanRefusedError as problem:
            self._finish(EndKind.LEFT, str(problem), plan_refusal=problem.reason)
        except TrainingStoppedError:
            self._finish(EndKind.LEFT, "training was stopped")
        except CodecError as problem:
            self._finish(EndKind.LEFT, f"the update cannot be encoded: {problem}")
        except FederatedProtocolError as problem:
            self._finish(EndKind.LEFT, f"secure aggregation stopped: {problem}")
        except ModelRejectedError as problem:
            self._finish(EndKind.BAD_ANSWER, str(problem))
        except SuggestionModelError as problem:
            self._finish(EndKind.LEFT, f"the model cannot be trained here: {problem}")
        except (LogError, OSError) as problem:
            self._finish(EndKind.LEFT, f"local storage failed ({type(problem).__name__})")
        else:
            self._silent_since, self._silences = None, 0
            return wait
        return 0.0

    def leave(self, why: str) -> None:
        """End the participation from outside: conditions are gone, or the device stops."""
        if self.end is None:
            self._finish(EndKind.LEFT, why)

    # -- the steps ---------------------------------------------------------------------------------------------

    def _check_in(self) -> float:
        of = self._of
        certificate = of.identity.certificate
        if certificate is None:
            self._finish(EndKind.LEFT, "not enrolled: get a certificate from the authority")
            return 0.0
        if self._outgoing is None:
            message = CheckIn(
                protocol_version=PROTOCOL_VERSION,
                app_version=of.app_version,
                certificate=certificate,
                nonce=secrets.token_bytes(16),
                issued_at=of.clock(),
                wants_round=self._wants_round,
            )
            self._outgoing = sign(message, CHECK_IN, "", of.identity.keys)
        answer = of.transport.check_in(self._outgoing)
        self._outgoing = None
        if isinstance(answer, UpgradeRequired):
            self._finish(EndKind.UPGRADE, "this app is too old for the coordinator: update it")
            return 0.0
        self._notice = answer.current
        if isinstance(answer, Selected):
            self._session = answer.session
            self._after_refresh = ClientState.AWAITING_PLAN
            at_once = of.transport.waits or not self._has(answer.current)
            wait = 0.0 if at_once else _bounded(answer.retry_after_s)
        else:
            self._after_refresh = self._ending_of(answer)
            wait = 0.0
        if self._has(answer.current):
            self._leave_refreshing()
        else:
            self._to(ClientState.REFRESHING)
        return wait

    def _ending_of(self, answer: ComeBack) -> End:
        if not self._wants_round:
            return End(EndKind.NEWS, "", after_s=answer.after_s)
        return End(EndKind.COME_BACK, f"no place in a round now ({answer.reason.value})", after_s=answer.after_s)

    def _refresh(self) -> float:
        """Fetch the announced model. Its failure is no reason to leave a round: the round's base is checked again."""
        of, notice = self._of, self._notice
        assert notice is not None
        wanted = notice.version
        try:
            if not of.store.holds(notice):
                of.on_model(of.store.admit(of.transport.model(wanted), notice))
            if of.holdback and not of.store.holds_for_holdback(notice):
                wanted = 0 if notice.holdback is None else notice.holdback.version
                of.on_model(of.store.admit_for_holdback(of.transport.model(wanted) if wanted else None, notice))
        except (Refused, BadAnswer, ModelRejectedError, OSError) as problem:
            detail = type(problem).__name__ if isinstance(problem, OSError) else str(problem)
            self._refresh_problem = f"model {wanted} could not be had: {detail}"
        self._leave_refreshing()
        return 0.0

    def _has(self, notice: ModelNotice) -> bool:
        """Whether everything that was announced for this device's arm is stored."""
        store = self._of.store
        return store.holds(notice) and (not self._of.holdback or store.holds_for_holdback(notice))

    def _leave_refreshing(self) -> None:
        ending = self._after_refresh
        if isinstance(ending, End):
            self._finish(ending.kind, ending.sentence, after_s=ending.after_s, participants=ending.participants)
        else:
            self._to(ending)

    def _await_plan(self) -> float:
        of = self._of
        answer = of.transport.plan(self._session, of.identity.fingerprint)
        if isinstance(answer, Pending):
            return _bounded(answer.retry_after_s)
        if isinstance(answer, Abandoned):
            return self._abandoned(answer)
        assert isinstance(answer, PlanAnswer)
        try:
            plan: Plan = wire.decode(answer.plan, Plan)
        except MalformedMessage:
            raise BadAnswer("the plan cannot be decoded") from None
        if answer.trust:
            of.identity.accept_trust(answer.trust, of.clock())
        of.policy.check(plan, *of.store.dimensions)
        self._session = plan.session  # of the cohort this device was dealt to
        if of.history.has_contributed(plan, of.clock()):
            raise PlanRefusedError(PlanRefusal.ALREADY_CONTRIBUTED)
        if not of.budget.affords(plan):
            raise PlanRefusedError(PlanRefusal.PRIVACY_BUDGET)
        self._plan = plan
        self._model = of.store.find(plan.model_version, plan.model_digest)
        if plan.baseline is not None:
            self._baseline = of.store.find(plan.baseline.version, plan.baseline.digest)
        ready = self._model is not None and (plan.baseline is None or self._baseline is not None)
        alone = plan.training.variance_reduction is msgspec.UNSET
        self._to(ClientState.TRAINING if ready and alone else ClientState.FETCHING_BASE)
        return 0.0

    def _fetch_base(self) -> float:
        """Fetch what the round needs; nothing of it is stored, so a model that is only judged never ranks."""
        plan = self._accepted_plan()
        if self._model is None:
            self._model = self._fetched(plan.model_version, plan.model_digest)
        if plan.baseline is not None and self._baseline is None:
            self._baseline = self._fetched(plan.baseline.version, plan.baseline.digest)
        reduction = plan.training.variance_reduction
        if isinstance(reduction, VarianceReduction):
            raw = self._of.transport.anchor(plan.model_version)
            self._anchor = read_anchor(raw, reduction.anchor_digest, plan.codec.dimension)
        self._to(ClientState.TRAINING)
        return 0.0

    def _fetched(self, version: int, digest: str) -> StoredModel:
        return self._of.store.verify(self._of.transport.model(version), version, digest)

    def _train(self) -> float:
        assert self._model is not None
        self._trained = self._of.worker.train(self._accepted_plan(), self._model, self._of.should_stop, self._anchor)
        self._to(ClientState.ENCODING)
        return 0.0

    def _encode(self) -> float:
        from federated_protocol.secure_aggregation import AggregationClient, RoundBinding

        assert self._model is not None
        assert self._trained is not None
        plan = self._accepted_plan()
        self._contribution = self._of.worker.contribute(plan, self._model, self._trained, self._baseline)
        self._of.worker.release()
        of = self._of
        self._aggregation = AggregationClient(
            RoundBinding.of(plan),
            self._contribution.layout,
            device_key=of.identity.public_key,
            vouch=lambda certificate: of.identity.trust.verify(certificate, of.clock()),
            floor=of.policy.floor_of(plan),
            threat=plan.aggregation.threat,
            largest_cohort=plan.aggregation.largest_cohort,
        )
        self._to(ClientState.ADVERTISING)
        return 0.0

    def _phase(self) -> float:
        """Send this phase's message until it is accepted; ask for the phase's result where that was no answer yet."""
        of, phase = self._of, PHASE_OF_STATE[self._state]
        if self._accepted:
            answer = of.transport.result(self._session, phase, of.identity.fingerprint)
        else:
            if self._outgoing is None:
                message = self._message(phase)
                self._outgoing = sign(message, phase, self._session, of.identity.keys, self._binding())
            answer = of.transport.send(self._session, phase, self._outgoing)
            self._accepted, self._outgoing = True, None
            claimed = self._contribution is not None and self._contribution.claimed
            if phase is Phase.UNMASK and claimed and _may_be_open(answer):
                of.log.mark_reported(self._session)
        if isinstance(answer, Pending):
            return _bounded(answer.retry_after_s)
        if isinstance(answer, Abandoned):
            return self._abandoned(answer)
        if isinstance(answer, Finished):
            return self._finished(answer)
        self._result, self._accepted = answer, False
        self._to(NEXT_PHASE_STATE[self._state])
        return 0.0

    def _message(self, phase: Phase) -> Message:
        aggregation, result = self._aggregation, self._result
        assert aggregation is not None
        if phase is Phase.ADVERTISE:
            return aggregation.advertise()
        if phase is Phase.SHARE:
            assert isinstance(result, Roster)
            return aggregation.share(result)
        if phase is Phase.MASKED_INPUT:
            assert isinstance(result, Mailbox)
            assert self._contribution is not None
            message = aggregation.masked_input(result, self._contribution.vector)
            self._remember(self._contribution)
            self._contribution = self._contribution.without_vector()
            return message
        if phase is Phase.CONFIRM:
            assert isinstance(result, Survivors)
            return aggregation.confirm(result)
        assert isinstance(result, Confirmations)
        return aggregation.unmask(result)

    def _binding(self) -> bytes:
        assert self._aggregation is not None
        return self._aggregation.binding

    def _finished(self, answer: Finished) -> float:
        self._notice = answer.current
        others = answer.participants - 1
        self._after_refresh = End(
            EndKind.FINISHED,
            f"joined round {self._accepted_plan().round} with {others} other{'' if others == 1 else 's'}",
            participants=answer.participants,
        )
        if self._has(answer.current):
            self._leave_refreshing()
        else:
            self._to(ClientState.REFRESHING)
        return 0.0

    def _abandoned(self, answer: Abandoned) -> float:
        self._finish(EndKind.ABANDONED, f"the round was abandoned ({answer.reason.value})")
        return 0.0

    _STEPS = {  # noqa: RUF012 - a constant table of methods
        ClientState.CHECKING_IN: _check_in,
        ClientState.REFRESHING: _refresh,
        ClientState.AWAITING_PLAN: _await_plan,
        ClientState.FETCHING_BASE: _fetch_base,
        ClientState.TRAINING: _train,
        ClientState.ENCODING: _encode,
        ClientState.ADVERTISING: _phase,
        ClientState.SHARING: _phase,
        ClientState.MASKING: _phase,
        ClientState.CONFIRMING: _phase,
        ClientState.UNMASKING: _phase,
    }

    # -- around the steps --------------------------------------------------------------------------------------

    def _to(self, state: ClientState) -> None:
        assert state in TRANSITIONS[self._state], f"{self._state.name} does not lead to {state.name}"
        self._state = state

    def _accepted_plan(self) -> Plan:
        assert self._plan is not None
        return self._plan

    def _keep_trying(self, problem: CoordinatorUnreachable) -> float:
        """Inside a round the same bytes are sent again until patience ends; a check-in is left to the schedule."""
        now = self._of.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        hopeless = self._state is ClientState.CHECKING_IN or (
            self._state is ClientState.REFRESHING and isinstance(self._after_refresh, End)
        )
        if isinstance(self._after_refresh, End) and self._after_refresh.kind is EndKind.FINISHED:
            # The round itself is over and counted; only the news did not arrive.
            self._refresh_problem = str(problem)
            self._leave_refreshing()
        elif hopeless or now - self._silent_since > self._of.patience_s:
            self._finish(EndKind.UNREACHABLE, str(problem))
        else:
            self._silences += 1
            return min(0.25 * 2.0 ** min(self._silences, 10), 15.0)
        return 0.0

    def _remember(self, contribution: Contribution) -> None:
        plan = self._accepted_plan()
        self._entry = HistoryEntry(
            when=self._of.clock(),
            task=plan.task,
            round=plan.round,
            session=plan.session,
            model_version=plan.model_version,
            model_digest=plan.model_digest,
            examples=contribution.examples,
            privacy=plan.privacy,
        )
        self._of.history.put(self._entry)
        self._of.budget.charge(plan)

    def _finish(
        self,
        kind: EndKind,
        sentence: str,
        after_s: float = 0.0,
        participants: int = 0,
        plan_refusal: PlanRefusal | None = None,
    ) -> None:
        traffic = self._of.transport.traffic - self._started_with
        self._forget()
        self._state = ClientState.DONE
        self.end = End(
            kind,
            sentence,
            problem=self._refresh_problem,
            after_s=after_s,
            participants=participants,
            round=None if self._plan is None else self._plan.round,
            traffic=traffic,
            selected=bool(self._session),
            contributed=self._entry is not None,
            plan_refusal=plan_refusal,
        )
        if self._entry is not None:
            self._write_ending(self._entry, self.end)

    def _write_ending(self, entry: HistoryEntry, end: End) -> None:
        endings = {EndKind.FINISHED: Ending.FINISHED, EndKind.ABANDONED: Ending.ABANDONED}
        try:
            self._of.history.put(
                HistoryEntry(
                    when=entry.when,
                    task=entry.task,
                    round=entry.round,
                    session=entry.session,
                    model_version=entry.model_version,
                    model_digest=entry.model_digest,
                    examples=entry.examples,
                    participants=end.participants,
                    bytes_up=end.traffic.up,
                    bytes_down=end.traffic.down,
                    ending=endings.get(end.kind, Ending.LEFT),
                    why="" if end.kind is EndKind.FINISHED else end.kind.value,
                    privacy=entry.privacy,
                )
            )
        except OSError:
            # The entry written before the masked input stands; only how it ended is not noted.
            return

    def _forget(self) -> None:
        """Let go of everything secret or personal."""
        if self._aggregation is not None:
            self._aggregation.forget()
        self._aggregation = None
        self._contribution = None
        self._outgoing = None
        self._result = None
        self._model = self._baseline = self._anchor = None
        self._of.worker.release()


def _may_be_open(answer: SessionAnswer) -> bool:
    """Whether the sum may be open by now: a model that fails its gate is thrown away, the counters are not."""
    return not isinstance(answer, Abandoned) or answer.reason is AbandonReason.EVALUATION_GATE


def _bounded(retry_after_s: float) -> float:
    """A coordinator can neither make a device spin nor put it to sleep in a round."""
    return min(max(retry_after_s, 0.02), 30.0) if retry_after_s == retry_after_s else 1.0
