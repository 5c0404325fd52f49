"""The authority's trust list takes effect at the coordinator and reaches devices through it."""

from __future__ import annotations

import os

import msgspec
import pytest
from click.testing import CliRunner

from coordinator.app import create_app
from coordinator.authority.cli import authority as authority_command
from coordinator.authority.directory import Authority
from coordinator.errors import SettingsError
from coordinator.trust import Trust
from federated_protocol.messages import PlanAnswer, RefusalReason, Selected
from federated_protocol.signing import Identity
from federated_protocol.trust import AuthorityKey, TrustStore, issue_trust_list


def listed(authority, serial, clock, revoked=(), keys=()):
    everlasting = [AuthorityKey(key, 0.0, clock.now + 1e6) for key in (authority.public_key, *keys)]
    return issue_trust_list(authority, serial, tuple(everlasting), tuple(revoked), clock.now + 1e5).encode()


def test_a_revoked_device_is_not_admitted_and_the_list_reaches_the_others(deployment, tmp_path, authority, clock):
    path = tmp_path / "trust.list"
    path.write_bytes(listed(authority, 1, clock))
    deployment.settings = msgspec.structs.replace(deployment.settings, trust_list=str(path))
    deployment.restart()
    deployment.tick(2.0)
    victim, *others = deployment.devices(10)
    path.write_bytes(listed(authority, 2, clock, revoked=[victim.identity.fingerprint]))
    os.utime(path, ns=(1, 1))
    assert victim.check_in().reason is RefusalReason.NOT_ENROLLED
    for device in others:
        assert isinstance(device.check_in(), Selected)
    deployment.tick(deployment.settings.deadlines.selecting_s)
    answer = others[0].get("plan")
    assert isinstance(answer, PlanAnswer)
    store = TrustStore.pinned(authority.public_key).accept(answer.trust, clock.now)
    assert store.serial == 2
    assert victim.identity.fingerprint in store.revoked


def test_certificates_of_the_next_key_count_once_it_is_listed(deployment, tmp_path, authority, clock):
    following = Identity.generate()
    path = tmp_path / "trust.list"
    path.write_bytes(listed(authority, 1, clock, keys=[following.public_key]))
    deployment.settings = msgspec.structs.replace(deployment.settings, trust_list=str(path))
    deployment.restart()
    deployment.tick(2.0)
    assert isinstance(deployment.device(signer=following).check_in(), Selected)
    assert deployment.device(signer=Identity.generate()).check_in().reason is RefusalReason.NOT_ENROLLED


def test_a_list_of_somebody_else_changes_nothing(settings, tmp_path, authority, clock):
    path = tmp_path / "trust.list"
    path.write_bytes(listed(Identity.generate(), 9, clock))
    trust = Trust(msgspec.structs.replace(settings, trust_list=str(path)))
    assert trust.current(clock.now).keys_at(clock.now) == [authority.public_key]
    assert trust.encoded() == b""


def test_a_list_that_is_not_there_is_said_at_the_start(settings, tmp_path):
    with pytest.raises(SettingsError, match="trust_list"):
        create_app(msgspec.structs.replace(settings, trust_list=str(tmp_path / "none")))


def test_the_command_rotates_and_revokes_and_goes_on_from_its_last_list(tmp_path):
    run = CliRunner()
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        assert run.invoke(authority_command, ["init", str(folder)]).exit_code == 0
    out = tmp_path / "trust.list"
    first = run.invoke(authority_command, ["trust", str(old), "--also", str(new / "public.key"), "--out", str(out)])
    assert first.exit_code == 0, first.output
    assert run.invoke(authority_command, ["trust", str(old), "--revoke", "ab" * 16, "--out", str(out)]).exit_code == 0
    kept = TrustStore.restored(out.read_bytes())
    assert kept.serial == 2
    assert {key.public_key for key in kept.keys} == {
        Authority.load(folder).identity.public_key for folder in (old, new)
    }
    assert kept.revoked == {bytes.fromhex("ab" * 16)}
    retired = run.invoke(authority_command, ["trust", str(old), "--retire", str(old / "public.key")])
    assert retired.exit_code != 0
    assert run.invoke(authority_command, ["trust", str(old), "--revoke", "nonsense"]).exit_code != 0


def test_while_certificates_move_to_a_new_key_those_of_the_former_one_count(deploy, authority):
    new = Identity.generate()
    former = (authority.public_key.hex(),)
    deployment = deploy(authority_public_key=new.public_key.hex(), former_authority_keys=former)
    deployment.tick()
    assert isinstance(deployment.device(signer=authority).check_in(), Selected)
    assert isinstance(deployment.device(signer=new).check_in(), Selected)
    stranger = deployment.device(signer=Identity.generate()).check_in()
    assert stranger.reason is RefusalReason.NOT_ENROLLED
