"""What the tests of a lying coordinator share: a lie is refused by its name, and nothing secret leaves the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from federated_protocol.errors import ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import Confirmations, Mailbox, Roster, Survivors
from federated_protocol.secure_aggregation import Advertised, ClientState, Directory


def refuses(client: Any, reason: Reason, call: Callable[[], object]) -> None:
    """``call`` raises ``reason``; the client dropped its secrets and no step gives anything out any more."""
    with pytest.raises(ProtocolError) as caught:
        call()
    assert caught.value.reason is reason
    assert client.state is ClientState.ABORTED
    assert client._secrets is None
    for step in (
        client.advertise,
        lambda: client.share(Roster(2, 1, 2, 1, b"", (), b"")),
        lambda: client.masked_input(Mailbox(b"", b""), np.zeros(20, np.uint32)),
        lambda: client.confirm(Survivors(b"", (), b"")),
        lambda: client.unmask(Confirmations(b"", b"")),
    ):
        with pytest.raises(ProtocolError) as silent:
            step()
        assert silent.value.reason is Reason.ABORTED


def advance(cohort: Any, step: str) -> None:
    for name in ("share", "mask", "confirm"):
        getattr(cohort, name)()
        if name == step:
            return


def join(cohort: Any, roster: Roster, reason: Reason, me: int = 1) -> None:
    refuses(cohort.clients[me], reason, lambda: cohort.clients[me].share(roster))


def lied_directory(cohort: Any, change: Callable[[dict[bytes, Advertised]], None]) -> Directory:
    """U1 with something changed in it, and a root, graph and proofs that fit the lie."""
    members = cohort.advertised()
    change(members)
    parameters = cohort.context.parameters if len(members) == cohort.context.parameters.n else None
    return Directory(cohort.binding, members, cohort.threat, parameters)


def survivors_without(cohort: Any, *gone: int, me: int = 1) -> Survivors:
    alive = [i for i in cohort.inputs if i not in gone]
    return cohort.directory.survivors(me, alive, cohort.floor)
