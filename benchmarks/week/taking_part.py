"""A device's side of the protocol: signatures, shares and masks, computed in processes beside the coordinator's.

Kept here between the phases of a round, in whichever process a device was sent to at its beginning.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from federated_protocol import wire
from federated_protocol.errors import FederatedProtocolError
from federated_protocol.messages import Abandoned, Message, Phase, SessionAnswer, SignedMessage
from federated_protocol.plan import Plan, counter_names
from federated_protocol.secure_aggregation import AggregationClient, RoundBinding
from federated_protocol.signing import Identity, sign
from federated_protocol.trust import TrustStore
from federated_protocol.update_codec import layout

FLOOR = 4
Result = TypeVar("Result")


class NothingSaid(enum.Enum):
    """Why a device has no message for a phase."""

    ROUND_OVER = enum.auto()
    REFUSED = enum.auto()
    """It would not go on with what it was told."""


@dataclass(frozen=True, slots=True)
class _TakingPart:
    identity: Identity
    session: str
    client: AggregationClient


_devices: dict[bytes, _TakingPart] = {}


def take_up(private_key: bytes, session: str, encoded: bytes, authority_key: bytes, now: float) -> None:
    """Let a device begin a round with this plan."""
    plan = msgspec.msgpack.decode(encoded, type=Plan)
    identity, trust = Identity.from_private_bytes(private_key), _trusting(authority_key)
    client = AggregationClient(
        RoundBinding.of(plan),
        layout(plan.codec, len(counter_names(plan.metrics))),
        device_key=identity.public_key,
        vouch=lambda certificate: trust.verify(certificate, now),
        floor=FLOOR,
        threat=plan.aggregation.threat,
    )
    _devices[identity.fingerprint] = _TakingPart(identity, session, client)


def say(
    device: bytes, phase: Phase, answer: bytes | None, vector: NDArray[np.uint32] | None
) -> SignedMessage | NothingSaid:
    """The signed message of a phase, computed from the encoded answer to the one before."""
    part = _devices[device]
    found: Any = None if answer is None else wire.decode(answer, SessionAnswer)  # each phase is answered with its own
    if isinstance(found, Abandoned):
        return NothingSaid.ROUND_OVER
    said: Message
    try:
        match phase:
            case Phase.ADVERTISE:
                said = part.client.advertise()
            case Phase.SHARE:
                said = part.client.share(found)
            case Phase.MASKED_INPUT:
                assert vector is not None
                said = part.client.masked_input(found, vector)
            case Phase.CONFIRM:
                said = part.client.confirm(found)
            case Phase.UNMASK:
                said = part.client.unmask(found)
    except FederatedProtocolError:
        return NothingSaid.REFUSED
    return sign(said, phase, part.session, part.identity, part.client.binding)


def leave(devices: list[bytes]) -> None:
    """Forget the round."""
    for device in devices:
        _devices.pop(device, None)


def processor_s() -> float:
    """Processor time of this process so far."""
    return time.process_time()


def at_once(work: Callable[..., Result], /, *arguments: Any) -> Future[Result]:
    """A post that is this very process."""
    done: Future[Result] = Future()
    done.set_result(work(*arguments))
    return done


@lru_cache(maxsize=1)
def _trusting(authority_key: bytes) -> TrustStore:
    return TrustStore.pinned(authority_key)
