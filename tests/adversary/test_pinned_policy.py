"""What the coordinator writes into a plan cannot lower what is pinned on the device; one masked input a round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from federated_protocol.enrolment import issue
from federated_protocol.errors import CertificateRevoked, TrustListRejected
from federated_protocol.plan import Adversary, AggregationSetting, Plan, ThreatModel
from federated_protocol.signing import Identity
from federated_protocol.trust import AuthorityKey, issue_trust_list
from federated_protocol.update_codec import solve_codec
from keyboard_app.device.history import History, HistoryEntry
from keyboard_app.device.identity import DeviceIdentity
from keyboard_app.device.policy import DevicePolicy, PlanRefusal, PlanRefusedError
from tests.plans import plan_with

replace = msgspec.structs.replace
DIMENSION, COHORT, NOW = 50, 100, 1000.0


@pytest.fixture
def plan() -> Plan:
    return plan_with(
        solve_codec(DIMENSION, 1.0, 1e-3, bytes(32), 1024, COHORT),
        aggregation=AggregationSetting(smallest_aggregate=20, largest_cohort=COHORT, threat=ThreatModel(dropout=0.1)),
    )


def test_an_honest_plan_is_accepted(plan: Plan) -> None:
    DevicePolicy().check(plan, DIMENSION)


@pytest.mark.parametrize(
    ("weaker", "reason"),
    [
        ({"smallest_aggregate": 19}, PlanRefusal.FLOOR),
        ({"smallest_aggregate": 1}, PlanRefusal.FLOOR),
        ({"smallest_aggregate": 101}, PlanRefusal.COHORT),
        ({"threat": ThreatModel(corrupt=0.0, dropout=0.1)}, PlanRefusal.THREAT),
        ({"threat": ThreatModel(dropout=0.0)}, PlanRefusal.THREAT),
        ({"threat": ThreatModel(dropout=0.1, sigma=40)}, PlanRefusal.THREAT),
        ({"threat": ThreatModel(dropout=0.1, adversary=Adversary.HONEST_BUT_CURIOUS)}, PlanRefusal.THREAT),
    ],
)
def test_a_plan_that_protects_less_is_refused(plan: Plan, weaker: dict[str, Any], reason: PlanRefusal) -> None:
    lie = replace(plan, aggregation=replace(plan.aggregation, **weaker))
    with pytest.raises(PlanRefusedError) as caught:
        DevicePolicy().check(lie, DIMENSION)
    assert caught.value.reason is reason


def test_a_demos_low_floor_is_the_devices_own_doing_and_says_so(plan: Plan) -> None:
    small = replace(plan, aggregation=replace(plan.aggregation, smallest_aggregate=4))
    demo = DevicePolicy().demo(4)
    demo.check(small, DIMENSION)
    assert demo.insecure_demo
    assert not DevicePolicy().insecure_demo
    with pytest.raises(ValueError, match="at least 2"):
        DevicePolicy().demo(1)


def test_a_second_attempt_after_a_masked_input_is_refused_also_after_a_restart(plan: Plan, tmp_path: Path) -> None:
    history = History(tmp_path / "rounds.json")
    assert not history.has_contributed(plan, NOW)
    history.put(
        HistoryEntry(
            when=NOW,
            task=plan.task,
            round=plan.round,
            session=plan.session,
            model_version=plan.model_version,
            model_digest=plan.model_digest,
            examples=3,
        )
    )
    again = replace(plan, attempt=2, session="another")
    assert History(tmp_path / "rounds.json").has_contributed(again, NOW + 60)
    # A model that is hardly another one would make hardly another input.
    twisted = replace(again, model_version=plan.model_version + 1, model_digest="cd" * 32)
    assert History(tmp_path / "rounds.json").has_contributed(twisted, NOW + 60)
    assert not History(tmp_path / "rounds.json").has_contributed(replace(again, round=4), NOW + 60)


def test_a_session_that_was_joined_is_not_joined_again_under_another_number(plan: Plan, tmp_path: Path) -> None:
    """Or one name for many rounds would hide all but the last of them from the device's own notes."""
    history = History(tmp_path / "rounds.json")
    entry = HistoryEntry(NOW, plan.task, plan.round, plan.session, plan.model_version, plan.model_digest, 3)
    history.put(entry)
    for changed in ({"round": 4}, {"task": "another"}, {"round": 4, "model_version": 9}):
        assert history.has_contributed(replace(plan, **changed), NOW + 30 * 86_400)
    history.delete(plan.session, NOW)
    assert history.has_contributed(replace(plan, round=4), NOW + 60)
    assert history.newest_input_at == NOW


def test_a_round_needs_as_many_devices_as_its_plan_says_where_that_is_more_than_the_floor(plan: Plan) -> None:
    """The noise of a plan is charged as if so many devices had added theirs."""
    policy = DevicePolicy()
    assert policy.floor_of(plan) == policy.smallest_aggregate == 20
    larger = replace(plan, aggregation=replace(plan.aggregation, smallest_aggregate=60))
    policy.check(larger, DIMENSION)
    assert policy.floor_of(larger) == 60


# -- trust on the device -----------------------------------------------------------------------------------------

AUTHORITY, NEXT, FOREIGN, PEER = (Identity.generate() for _ in range(4))


def trust_list(serial: int, signer: Identity = AUTHORITY, revoked: tuple[bytes, ...] = ()) -> bytes:
    keys = tuple(AuthorityKey(key.public_key, 0.0, 1e6) for key in (AUTHORITY, NEXT))
    return issue_trust_list(signer, serial, keys, revoked, 1e6).encode()


@pytest.fixture
def device(tmp_path: Path) -> DeviceIdentity:
    identity = DeviceIdentity.open(tmp_path)
    certificate = issue(AUTHORITY, identity.public_key, authority_name="a", not_before=0.0, not_after=1e9)
    identity.install(certificate.encode())
    return identity


def peer_of(authority: Identity) -> bytes:
    return issue(authority, PEER.public_key, authority_name="a", not_before=0.0, not_after=1e9).encode()


def test_a_device_pins_the_authority_of_its_own_certificate(device: DeviceIdentity) -> None:
    assert device.trust.keys_at(NOW) == [AUTHORITY.public_key]
    assert device.trust.verify(peer_of(AUTHORITY), NOW).device_key == PEER.public_key


def test_revocations_outlive_a_restart_and_the_coordinator_cannot_take_them_back(
    device: DeviceIdentity, tmp_path: Path
) -> None:
    device.accept_trust(trust_list(2, revoked=(PEER.fingerprint,)), NOW)
    again = DeviceIdentity.open(tmp_path)
    for identity in (device, again):
        with pytest.raises(CertificateRevoked):
            identity.trust.verify(peer_of(AUTHORITY), NOW)
        with pytest.raises(TrustListRejected):
            identity.accept_trust(trust_list(1), NOW)
        with pytest.raises(TrustListRejected):
            identity.accept_trust(trust_list(3, FOREIGN), NOW)
        assert identity.trust.verify(
            issue(NEXT, FOREIGN.public_key, authority_name="a", not_before=0.0, not_after=1e9).encode(), NOW
        )


def test_a_device_enrolled_with_another_authority_forgets_the_former_ones_list(device: DeviceIdentity) -> None:
    device.accept_trust(trust_list(2), NOW)
    certificate = issue(FOREIGN, device.public_key, authority_name="b", not_before=0.0, not_after=1e9)
    device.install(certificate.encode())
    assert device.trust.keys_at(NOW) == [FOREIGN.public_key]
