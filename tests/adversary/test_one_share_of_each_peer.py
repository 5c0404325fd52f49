"""A device answers each phase once: nobody gets both shares of a peer from it, or a secret; on both graphs."""

from __future__ import annotations

from typing import Any

from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import Phase
from tests.adversary.lies import advance, refuses, survivors_without


def test_phases_out_of_order_or_repeated(small: Any) -> None:
    advance(small, "confirm")
    asked_again = {
        1: lambda c: c.advertise(),
        2: lambda c: c.share(small.roster_of[2]),
        3: lambda c: c.masked_input(small.mailboxes[3], small.vectors[3]),
        4: lambda c: c.confirm(small.survivors_of[4]),
    }
    for i, call in asked_again.items():
        refuses(small.clients[i], Reason.WRONG_ORDER, lambda i=i, call=call: call(small.clients[i]))


def test_both_shares_of_a_peer_by_asking_twice_with_different_survivors(small: Any) -> None:
    advance(small, "confirm")
    client = small.clients[1]
    first = client.unmask(small.confirmations_of[1])
    assert first.missing == b"\0"
    refuses(client, Reason.WRONG_ORDER, lambda: client.confirm(survivors_without(small, 6)))


def test_one_message_never_holds_both_shares_of_a_peer(cohort: Any) -> None:
    advance(cohort, "confirm")
    for i, client in cohort.clients.items():
        held = dict(client._secrets.held_shares)
        message = client.unmask(cohort.confirmations_of[i])
        for mask_key_share, self_mask_share in held.values():
            assert (mask_key_share in message.shares) + (self_mask_share in message.shares) <= 1
        assert len(message.shares) == 32 * len(held)


def test_what_leaves_a_device_never_holds_its_secrets(cohort: Any) -> None:
    secrets = {}
    for i, client in cohort.clients.items():
        inner = client._secrets
        secrets[i] = (inner.cipher_key.private_bytes_raw(), inner.mask_key.private_bytes_raw(), inner.self_mask_seed)
    cohort.run()
    sent = b"".join(signed.payload for phase in Phase for signed in cohort.signed[phase].values())
    for mine in secrets.values():
        for secret in mine:
            assert secret not in sent
    assert all(client._secrets is None for client in cohort.clients.values())
