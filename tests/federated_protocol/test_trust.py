"""Authority keys rotate with overlap, certificates are taken back, and no list brings an older state back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from federated_protocol.enrolment import issue
from federated_protocol.errors import CertificateExpired, CertificateForged, CertificateRevoked, TrustListRejected
from federated_protocol.signing import Identity
from federated_protocol.trust import AuthorityKey, TrustList, TrustStore, issue_trust_list

OLD, NEW, FOREIGN, DEVICE, OTHER = (Identity.generate() for _ in range(5))
NOW = 500.0
PINNED = TrustStore.pinned(OLD.public_key)


def certificate(authority: Identity, device: Identity = DEVICE, **dates: float) -> bytes:
    span: dict[str, Any] = {"not_before": 0.0, "not_after": 1e6} | dates
    return issue(authority, device.public_key, authority_name="a", **span).encode()


def trust_list(serial: int, signer: Identity = OLD, **changed: Any) -> bytes:
    arguments: dict[str, Any] = {
        "keys": (AuthorityKey(OLD.public_key, 0.0, 1000.0), AuthorityKey(NEW.public_key, 400.0, 2000.0)),
        "revoked": (),
        "not_after": 3000.0,
    }
    return issue_trust_list(signer, serial, **(arguments | changed)).encode()


def test_a_pinned_key_counts_and_no_other() -> None:
    assert PINNED.verify(certificate(OLD), NOW).device_key == DEVICE.public_key
    with pytest.raises(CertificateForged):
        PINNED.verify(certificate(FOREIGN), NOW)
    with pytest.raises(CertificateExpired):
        PINNED.verify(certificate(OLD, not_after=10.0), NOW)


def test_keys_rotate_with_overlap() -> None:
    store = PINNED.accept(trust_list(1), NOW)
    for authority in (OLD, NEW):
        assert store.verify(certificate(authority), NOW)
    with pytest.raises(CertificateForged):  # the old key has ended
        store.verify(certificate(OLD), 1500.0)
    assert store.verify(certificate(NEW), 1500.0)
    with pytest.raises(CertificateForged):  # the new key has not begun
        store.verify(certificate(NEW), 300.0)


def test_the_new_key_makes_the_next_list() -> None:
    store = PINNED.accept(trust_list(1), NOW)
    following = store.accept(trust_list(2, NEW, keys=(AuthorityKey(NEW.public_key, 0.0, 2000.0),)), NOW)
    with pytest.raises(CertificateForged):
        following.verify(certificate(OLD), NOW)
    with pytest.raises(TrustListRejected):
        following.accept(trust_list(3, OLD), NOW)


def test_a_revoked_device_is_out_even_if_it_was_verified_before() -> None:
    store = PINNED.accept(trust_list(1), NOW)
    assert store.verify(certificate(OLD), NOW)
    store = store.accept(trust_list(2, revoked=(DEVICE.fingerprint,)), NOW)
    with pytest.raises(CertificateRevoked):
        store.verify(certificate(OLD), NOW)
    with pytest.raises(CertificateRevoked):  # a second certificate for the same key does not help
        store.verify(certificate(NEW), NOW)
    assert store.verify(certificate(OLD, OTHER), NOW)


def test_an_older_list_never_comes_back() -> None:
    store = PINNED.accept(trust_list(5, revoked=(DEVICE.fingerprint,)), NOW)
    with pytest.raises(TrustListRejected, match="older"):
        store.accept(trust_list(4), NOW)
    assert store.accept(trust_list(5, revoked=(DEVICE.fingerprint,)), NOW) is store


def test_withholding_lists_ends_with_the_one_in_force() -> None:
    store = PINNED.accept(trust_list(1), NOW)
    with pytest.raises(CertificateForged):
        store.verify(certificate(NEW), 3001.0)
    with pytest.raises(TrustListRejected):
        PINNED.accept(trust_list(2, not_after=100.0), NOW)


def test_a_list_of_somebody_else_or_a_changed_one_is_refused() -> None:
    with pytest.raises(TrustListRejected):
        PINNED.accept(trust_list(1, FOREIGN), NOW)
    signed = msgspec.msgpack.decode(trust_list(1), type=TrustList)
    forged = msgspec.structs.replace(signed, revoked=(DEVICE.fingerprint,))
    with pytest.raises(TrustListRejected):
        PINNED.accept(forged.encode(), NOW)
    foreign = msgspec.msgpack.decode(trust_list(1, FOREIGN), type=TrustList)
    posing = msgspec.structs.replace(foreign, signer=OLD.public_key)
    with pytest.raises(TrustListRejected):
        PINNED.accept(posing.encode(), NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"keys": ()},
        {"keys": (AuthorityKey(b"short", 0.0, 1.0),)},
        {"keys": (AuthorityKey(OLD.public_key, 1.0, 1.0),)},
        {"revoked": (b"short",)},
        {"not_after": float("nan")},
    ],
)
def test_the_authority_does_not_sign_nonsense(changed: dict[str, Any]) -> None:
    with pytest.raises(TrustListRejected):
        trust_list(1, **changed)


def test_what_was_accepted_is_restored() -> None:
    raw = trust_list(7, revoked=(DEVICE.fingerprint,))
    assert TrustStore.restored(raw) == PINNED.accept(raw, NOW)
