"""The states of a participation, their legal moves, how it can end, and what it is equipped with.

::

    CHECKING_IN ─► REFRESHING ─► AWAITING_PLAN ─► FETCHING_BASE ─► TRAINING ─► ENCODING
         │              │                                                         │
         ▼              ▼                                                         ▼
        DONE ◄── REFRESHING ◄── UNMASKING ◄── CONFIRMING ◄── MASKING ◄── SHARING ◄── ADVERTISING

:data:`TRANSITIONS` is the whole table; every state may also end in DONE.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from federated_protocol.messages import Phase
from keyboard_app import VERSION
from keyboard_app.device.history import History
from keyboard_app.device.identity import DeviceIdentity
from keyboard_app.device.local_work import LocalWorker
from keyboard_app.device.model_store import ModelStore, StoredModel
from keyboard_app.device.policy import DevicePolicy, PlanRefusal
from keyboard_app.device.privacy_budget import PrivacyBudget
from keyboard_app.device.transport import Traffic, Transport

if TYPE_CHECKING:
    from data_logging import ImpressionLog


class ClientState(enum.StrEnum):
    """Where a participation stands; the words are shown to the person."""

    CHECKING_IN = "checking in"
    REFRESHING = "fetching a model"
    AWAITING_PLAN = "waiting for a round to begin"
    FETCHING_BASE = "fetching the round's model"
    TRAINING = "training"
    ENCODING = "encoding"
    ADVERTISING = "exchanging keys"
    SHARING = "sharing secrets"
    MASKING = "sending a masked update"
    CONFIRMING = "comparing notes with peers"
    UNMASKING = "helping to unmask the sum"
    DONE = "done"


_S = ClientState

TRANSITIONS: dict[ClientState, frozenset[ClientState]] = {
    _S.CHECKING_IN: frozenset({_S.REFRESHING, _S.AWAITING_PLAN}),
    _S.REFRESHING: frozenset({_S.AWAITING_PLAN}),
    _S.AWAITING_PLAN: frozenset({_S.FETCHING_BASE, _S.TRAINING}),
    _S.FETCHING_BASE: frozenset({_S.TRAINING}),
    _S.TRAINING: frozenset({_S.ENCODING}),
    _S.ENCODING: frozenset({_S.ADVERTISING}),
    _S.ADVERTISING: frozenset({_S.SHARING}),
    _S.SHARING: frozenset({_S.MASKING}),
    _S.MASKING: frozenset({_S.CONFIRMING}),
    _S.CONFIRMING: frozenset({_S.UNMASKING}),
    _S.UNMASKING: frozenset({_S.REFRESHING}),
    _S.DONE: frozenset(),
}
"""Legal moves; DONE can be reached from every state."""

PHASE_OF_STATE: dict[ClientState, Phase] = {
    _S.ADVERTISING: Phase.ADVERTISE,
    _S.SHARING: Phase.SHARE,
    _S.MASKING: Phase.MASKED_INPUT,
    _S.CONFIRMING: Phase.CONFIRM,
    _S.UNMASKING: Phase.UNMASK,
}
NEXT_PHASE_STATE = {_S.ADVERTISING: _S.SHARING, _S.SHARING: _S.MASKING, _S.MASKING: _S.CONFIRMING}
NEXT_PHASE_STATE[_S.CONFIRMING] = _S.UNMASKING
"""Where a phase leads once its result is here."""


class EndKind(enum.StrEnum):
    """How a participation ended."""

    NEWS = "news"
    """Nothing but the current model was wanted, and it is here."""
    COME_BACK = "come_back"
    FINISHED = "finished"
    ABANDONED = "abandoned"
    """The coordinator ended the round."""
    LEFT = "left"
    """The device left: plan refused, conditions gone, stopped, protocol violated."""
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    BAD_ANSWER = "bad_answer"
    UPGRADE = "upgrade"


@dataclass(frozen=True, slots=True)
class End:
    """The result of a participation."""

    kind: EndKind
    sentence: str
    """For the person; never holds anything typed."""
    problem: str = ""
    """What did not work although the participation went on: the announced model could not be had."""
    after_s: float = 0.0
    """With COME_BACK: the coordinator's hint."""
    participants: int = 0
    """With FINISHED: devices in the round, this one included."""
    round: int | None = None
    traffic: Traffic = field(default_factory=Traffic)
    selected: bool = False
    """Whether the device had a place in a round."""
    contributed: bool = False
    """Whether a masked input of this device may be with the coordinator."""
    plan_refusal: PlanRefusal | None = None


@dataclass(frozen=True, slots=True)
class Equipment:
    """What every participation of a device uses."""

    transport: Transport
    identity: DeviceIdentity
    policy: DevicePolicy
    store: ModelStore
    worker: LocalWorker
    log: ImpressionLog
    history: History
    budget: PrivacyBudget
    on_model: Callable[[StoredModel], None]
    """Told at once when a newer model is stored."""
    clock: Callable[[], float]
    """Unix time in seconds."""
    monotonic: Callable[[], float]
    app_version: str = VERSION
    patience_s: float = 600.0
    """A round whose coordinator stays silent for longer is left."""
    holdback: bool = False
    """Whether this device is in the holdback arm: it then fetches what that ranks with, too."""
    should_stop: Callable[[], bool] = field(default=lambda: False)
    """Asked between the steps of training; True cancels it."""
