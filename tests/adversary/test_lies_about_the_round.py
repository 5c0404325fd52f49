"""A coordinator that passes messages of another plan, model, round or task; on both graphs."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import msgspec
import pytest

from federated_protocol import wire
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import Confirmation, KeyAdvertisement, Phase
from federated_protocol.plan import PROTOCOL_VERSION
from federated_protocol.secure_aggregation import confirmations
from federated_protocol.signing import sign
from tests.adversary.lies import advance, join, refuses

replace = msgspec.structs.replace
OTHER_VERSION = PROTOCOL_VERSION + 1


@pytest.mark.parametrize(
    "changed",
    [
        {"model_digest": bytes(32)},
        {"plan_digest": bytes(32)},
        {"session": "another"},
        {"task": "another"},
        {"round": 4},
        {"attempt": 2},
        {"version": OTHER_VERSION},
    ],
)
def test_a_victim_that_was_given_another_plan_model_round_or_task_accepts_no_peer(
    cohort: Any, changed: dict[str, Any]
) -> None:
    """And its peers do not accept it: the coordinator gets no sum with the victim in it."""
    me = 1
    honest = cohort.binding
    cohort.binding = dataclasses.replace(honest, **changed)
    victim = cohort.new_client(me, random.Random(me))
    cohort.clients[me] = victim
    cohort.send(me, Phase.ADVERTISE, victim.advertise())
    cohort.binding = honest
    cohort.build()
    other_ring = "session" in changed and not cohort.context.parameters.complete
    join(cohort, cohort.roster_of[me], Reason.BAD_NEIGHBOURS if other_ring else Reason.BAD_SIGNATURE, me)
    peer = cohort.context.graph.neighbours(me)[0]
    join(cohort, cohort.roster_of[peer], Reason.BAD_SIGNATURE, peer)


@pytest.mark.parametrize(
    "other",
    [
        {"round": 2, "session": "earlier"},
        {"round": 2},
        {"task": "another"},
        {"attempt": 2},
        {"version": OTHER_VERSION},
    ],
)
def test_a_key_advertisement_replayed_from_another_round_task_attempt_or_version(
    cohort: Any, other: dict[str, Any]
) -> None:
    earlier = dataclasses.replace(cohort.binding, **other)
    peer = cohort.context.graph.neighbours(1)[0]
    keys = wire.decode(cohort.signed[Phase.ADVERTISE][peer].payload, KeyAdvertisement)
    old = sign(keys, Phase.ADVERTISE, earlier.session, cohort.identities[peer], earlier.digest)
    roster = cohort.roster_of[1]
    entries = tuple(replace(e, signature=old.signature) if e.index == peer else e for e in roster.entries)
    join(cohort, replace(roster, entries=entries), Reason.BAD_SIGNATURE)


def test_a_confirmation_of_another_round_is_none_of_this_one(small: Any) -> None:
    advance(small, "confirm")
    other = dataclasses.replace(small.context, binding=dataclasses.replace(small.binding, round=9))
    message = small.clients[2]._confirmed
    signatures = {
        i: sign(Confirmation(message), Phase.CONFIRM, small.binding.session, identity, other.digest).signature
        for i, identity in small.identities.items()
    }
    lie = confirmations(1, signatures, small.context)
    refuses(small.clients[1], Reason.BAD_CONFIRMATION, lambda: small.clients[1].unmask(lie))
