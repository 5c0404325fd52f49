"""The states of a round and every legal transition, in one table.

Theory of operation
-------------------
A round is a row in the database, or several that share task, number and attempt: its *cohorts*, each a secure
aggregation of its own (:mod:`coordinator.rounds.cohorts`). No process holds a piece of it. Each row moves only along
:data:`TRANSITIONS`, by a conditional update (``... where state = the state I saw``), so when several processes try the
same move one of them does it and the others see that it is done. Each move writes a history row.

``SELECTING`` collects check-ins. The five states after it are the steps of secure aggregation (Bonawitz et al.,
eprint 2017/281, with Bell et al.'s sparse graph, 2020/704): in each, every device that is *still in* may send one
message. A step is over when all of them have
answered, or at its deadline; then it had a *quorum* or it was *short*:

===========  ====================================  ==============================================
state        the set it leaves                     quorum
===========  ====================================  ==============================================
SELECTING    the cohort                            minimum_count
ADVERTISING  U1, fixes n, the graph and t          smallest_aggregate
SHARING      U2                                    max(t, smallest_aggregate)
COLLECTING   U3, whose inputs are summed           max(s, smallest_aggregate)
CONFIRMING   U4, who signed U3                     t
UNMASKING    U5, who sent shares                   t
===========  ====================================  ==============================================

From SHARING on every member of U2 must also have t of its own neighbours left, or its secrets could never be opened;
s is t on the complete graph and (1 - dropout) n on a sparse one.

Whoever missed a step is out; a short step abandons the round with its reason and nothing is opened. With a quorum in
``UNMASKING`` the sum is opened and stored (``AGGREGATED``: exact counters are kept from here on), the next model is
computed from it and either passes the checks (``PUBLISHED``, in one transaction with the new version) or not. A cohort
waits in ``AGGREGATED`` until every other one of its round is there or abandoned: the model is made of all their sums,
but for one that deviates from the others; with too few of them the round is *short* once more.

A coordinator that is killed leaves the row as it is. Whoever looks next finds the state and its deadline: devices go on
where they were, or the deadline passes and the step is closed by the rule above.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from federated_protocol.messages import AbandonReason, Phase


class RoundState(enum.StrEnum):
    """Where a round stands."""

    SELECTING = "selecting"
    ADVERTISING = "advertising"
    SHARING = "sharing"
    COLLECTING = "collecting"
    CONFIRMING = "confirming"
    UNMASKING = "unmasking"
    AGGREGATED = "aggregated"
    PUBLISHED = "published"
    ABANDONED = "abandoned"


class RoundEvent(enum.StrEnum):
    """What moves a round."""

    QUORUM = "quorum"
    """The step is over and enough devices are still in."""
    SHORT = "short"
    """The step is over and too few devices are still in."""
    FAILED = "failed"
    """The shares did not open the sum."""
    PASSED = "passed"
    """The next model passed the checks."""
    REJECTED = "rejected"
    """The next model did not pass the checks, or this cohort's sum is left out of it."""
    STOPPED = "stopped"
    """Ended from outside: by an operator, with the model it builds on, or because there is nothing to do."""


_S, _E = RoundState, RoundEvent

TRANSITIONS: Mapping[RoundState, Mapping[RoundEvent, RoundState]] = MappingProxyType(
    {
        _S.SELECTING: {_E.QUORUM: _S.ADVERTISING, _E.SHORT: _S.ABANDONED, _E.STOPPED: _S.ABANDONED},
        _S.ADVERTISING: {_E.QUORUM: _S.SHARING, _E.SHORT: _S.ABANDONED, _E.STOPPED: _S.ABANDONED},
        _S.SHARING: {_E.QUORUM: _S.COLLECTING, _E.SHORT: _S.ABANDONED, _E.STOPPED: _S.ABANDONED},
        _S.COLLECTING: {_E.QUORUM: _S.CONFIRMING, _E.SHORT: _S.ABANDONED, _E.STOPPED: _S.ABANDONED},
        _S.CONFIRMING: {_E.QUORUM: _S.UNMASKING, _E.SHORT: _S.ABANDONED, _E.STOPPED: _S.ABANDONED},
        _S.UNMASKING: {
            _E.QUORUM: _S.AGGREGATED,
            _E.SHORT: _S.ABANDONED,
            _E.FAILED: _S.ABANDONED,
            _E.STOPPED: _S.ABANDONED,
        },
        _S.AGGREGATED: {
            _E.PASSED: _S.PUBLISHED,
            _E.REJECTED: _S.ABANDONED,
            _E.SHORT: _S.ABANDONED,
            _E.STOPPED: _S.ABANDONED,
        },
        _S.PUBLISHED: {},
        _S.ABANDONED: {},
    }
)

PHASE_OF_STATE: Mapping[RoundState, Phase] = MappingProxyType(
    {
        _S.ADVERTISING: Phase.ADVERTISE,
        _S.SHARING: Phase.SHARE,
        _S.COLLECTING: Phase.MASKED_INPUT,
        _S.CONFIRMING: Phase.CONFIRM,
        _S.UNMASKING: Phase.UNMASK,
    }
)
"""The messages a state accepts."""

STATE_OF_PHASE: Mapping[Phase, RoundState] = MappingProxyType({p: s for s, p in PHASE_OF_STATE.items()})

SHORT_REASON: Mapping[RoundState, AbandonReason] = MappingProxyType(
    {
        _S.SELECTING: AbandonReason.TOO_FEW_SELECTED,
        _S.ADVERTISING: AbandonReason.TOO_FEW_ADVERTISED,
        _S.SHARING: AbandonReason.TOO_FEW_SHARED,
        _S.COLLECTING: AbandonReason.TOO_FEW_INPUTS,
        _S.CONFIRMING: AbandonReason.TOO_FEW_CONFIRMED,
        _S.UNMASKING: AbandonReason.TOO_FEW_UNMASKED,
        _S.AGGREGATED: AbandonReason.TOO_FEW_COHORTS,
    }
)

FINAL_STATES = frozenset(state for state, moves in TRANSITIONS.items() if not moves)

ORDER: tuple[RoundState, ...] = tuple(RoundState)
"""The states in the order a successful round passes them (ABANDONED last)."""


class IllegalTransitionError(Exception):
    """The state machine has no such move: a defect in the caller."""


def next_state(state: RoundState, event: RoundEvent) -> RoundState:
    """Look the move up; raises :class:`IllegalTransitionError` when the table has none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransitionError(f"a round in state {state.value} does not know the event {event.value}") from None


def has_passed(state: RoundState, phase: Phase) -> bool:
    """Whether the step of ``phase`` was closed with a quorum (False for an abandoned round)."""
    return state is not _S.ABANDONED and ORDER.index(state) > ORDER.index(STATE_OF_PHASE[phase])


def mermaid() -> str:
    """Render the table as a Mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2", "    [*] --> selecting"]
    for state, moves in TRANSITIONS.items():
        lines += [f"    {state.value} --> {target.value}: {event.value}" for event, target in moves.items()]
    lines += [f"    {state.value} --> [*]" for state in ORDER if state in FINAL_STATES]
    return "\n".join(lines) + "\n"
