"""The protocol versions a coordinator serves: its own and the one before. A cohort speaks one of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from federated_protocol import wire
from federated_protocol.messages import ComeBack, Finished, NoticeOfVersion1, Selected
from federated_protocol.plan import PROTOCOL_VERSION

NEWEST = PROTOCOL_VERSION
_KNOWN_SINCE = {"fedavg": 1, "fsvrg": 2}
"""The first version whose devices know an algorithm's plans and models."""


def oldest(algorithm: Literal["fedavg", "fsvrg"] = "fedavg") -> int:
    """The oldest version that is served where ``algorithm`` trains; what is older hears ``upgrade_required``."""
    return max(1, NEWEST - 1, _KNOWN_SINCE[algorithm])


def is_served(version: int) -> bool:
    """Whether rounds of this version go on."""
    return oldest() <= version <= NEWEST


def encode(answer: Selected | ComeBack | Finished, version: int) -> bytes:
    """An answer as devices of a served version read it: without what was added to the messages since."""
    if version == 1:
        former = NoticeOfVersion1(answer.current.version, answer.current.digest)
        return wire.encode(msgspec.structs.replace(answer, current=former))
    return wire.encode(answer)
