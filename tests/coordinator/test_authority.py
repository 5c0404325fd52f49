"""The enrolment authority: its directory, its command, its HTTP service."""

from __future__ import annotations

import stat

import msgspec
import pytest
from click.testing import CliRunner

from coordinator.authority import Authority, AuthorityError
from coordinator.authority.cli import authority as authority_command
from coordinator.authority.directory import Renewals
from coordinator.authority.service import create_authority_app
from coordinator.trust_anchor import read_trust_anchor
from federated_protocol.enrolment import issue, verify
from federated_protocol.renewal import ask_renewal
from federated_protocol.signing import Identity

NOW = 1_800_000_000.0


def run(*arguments):
    return CliRunner().invoke(authority_command, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    Authority.create(tmp_path / "authority", "test authority", insecure_demo=True)
    return tmp_path / "authority"


@pytest.fixture
def client(folder):
    return create_authority_app(
        Authority.load(folder), ["let me in"], Renewals(folder), clock=lambda: NOW
    ).test_client()


def ask(client, **changes):
    body = {"public_key": Identity.generate().public_key.hex(), "token": "let me in"} | changes
    response = client.post("/v1/certificates", data=msgspec.json.encode(body), content_type="application/json")
    return response.status_code, response.get_json()


def test_init_keeps_the_private_key_private_and_the_public_key_readable(tmp_path):
    result = run("init", tmp_path / "a")
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE((tmp_path / "a" / "private.key").stat().st_mode) == 0o600
    assert not read_trust_anchor(str(tmp_path / "a" / "public.key")).insecure_demo
    assert isinstance(run("init", tmp_path / "a").exception, AuthorityError)


def test_what_was_done_is_said_as_json_on_request(folder, tmp_path):
    made = msgspec.json.decode(run("init", tmp_path / "a", "--json").stdout)
    assert not read_trust_anchor(made["public_key"]).insecure_demo
    key = Identity.generate().public_key
    certified = msgspec.json.decode(run("issue", tmp_path / "a", key.hex(), "--json").stdout)
    assert key in bytes.fromhex(certified["certificate"])
    listed = msgspec.json.decode(run("trust", tmp_path / "a", "--json").stdout)
    assert (listed["serial"], listed["keys"], listed["revoked"]) == (1, 1, 0)


def test_a_demo_authority_says_so_everywhere(folder):
    assert read_trust_anchor(str(folder / "public.key")).insecure_demo
    assert "INSECURE DEMO" in run("issue", folder, Identity.generate().public_key.hex()).output


@pytest.mark.parametrize("form", ["hex", "hex file", "raw file"])
def test_issue_certifies_a_key_given_as_hex_or_file(folder, tmp_path, form):
    key = Identity.generate().public_key
    source = key.hex()
    if form != "hex":
        source = tmp_path / "device.pub"
        source.write_bytes(key if form == "raw file" else key.hex().encode() + b"\n")
    result = run("issue", folder, source, "--out", tmp_path / "certificate")
    assert result.exit_code == 0, result.output
    certificate = (tmp_path / "certificate").read_bytes()
    anchor = read_trust_anchor(str(folder / "public.key")).public_key
    import time

    opened = verify(certificate, anchor, time.time())
    assert (opened.device_key, opened.authority, opened.insecure_demo) == (key, "test authority", True)


@pytest.mark.parametrize("source", ["zz", "ab" * 31, "/no/such/file"])
def test_keys_that_are_none_are_explained(folder, source):
    assert isinstance(run("issue", folder, source).exception, AuthorityError)


def test_many_device_homes_are_made_by_a_demo_authority_only(folder, tmp_path):
    assert run("issue", folder, "--count", 3, "--out", tmp_path / "devices").exit_code == 0
    homes = sorted((tmp_path / "devices").iterdir())
    assert [home.name for home in homes] == ["device-001", "device-002", "device-003"]
    anchor = read_trust_anchor(str(folder / "public.key")).public_key
    for home in homes:
        identity = Identity.from_private_bytes((home / "identity.key").read_bytes())
        import time

        opened = verify((home / "certificate").read_bytes(), anchor, time.time())
        assert opened.device_key == identity.public_key
    real = Authority.create(tmp_path / "real", "real")
    with pytest.raises(AuthorityError, match="demo authority"):
        real.make_devices(tmp_path / "more", 1, NOW, 1.0)


def test_a_damaged_or_missing_authority_is_explained(folder, tmp_path):
    with pytest.raises(AuthorityError, match="authority init"):
        Authority.load(tmp_path / "nowhere")
    (folder / "private.key").write_bytes(b"short")
    with pytest.raises(AuthorityError, match="restore"):
        Authority.load(folder)


def test_the_service_enrols_whoever_shows_the_token(client, folder):
    identity = Identity.generate()
    status, body = ask(client, public_key=identity.public_key.hex())
    assert status == 200
    anchor = read_trust_anchor(str(folder / "public.key")).public_key
    assert verify(bytes.fromhex(body["certificate"]), anchor, NOW).device_key == identity.public_key


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": "guess"}, 403),
        ({"token": ""}, 403),
        ({"public_key": "abcd"}, 400),
        ({"public_key": "not hex"}, 400),
        ({"public_key": 7}, 400),
        ({"extra": 1}, 400),
        ({"token": "x" * 5000}, 413),
    ],
)
def test_the_service_refuses_with_a_sentence(client, changes, status):
    found, body = ask(client, **changes)
    assert found == status
    assert len(body["error"]) > 10


def test_other_paths_and_methods_are_refused(client):
    assert client.get("/v1/certificates").status_code == 405
    assert client.post("/").status_code == 404
    assert client.post("/v1/certificates", data=b"\xff").status_code == 400


def test_the_service_does_not_start_without_a_token(folder):
    with pytest.raises(AuthorityError, match="--token"):
        create_authority_app(Authority.load(folder), [], Renewals(folder))
    assert isinstance(run("serve", folder).exception, AuthorityError)


# -- the next identity key ---------------------------------------------------------------------------------------


def renewal_of(client, former, certificate, following):
    request = ask_renewal(former, certificate, following).encode()
    response = client.post("/v1/renewals", data=msgspec.json.encode({"renewal": request.hex()}))
    return response.status_code, response.get_json()


@pytest.fixture
def enrolled(folder):
    """Its certificate has five of thirty days left."""
    device = Identity.generate()
    return device, Authority.load(folder).certify(device.public_key, NOW - 25 * 86_400, 30).encode()


def test_a_key_in_force_has_its_successor_certified_once_and_both_count_meanwhile(client, folder, enrolled):
    device, certificate = enrolled
    following = Identity.generate()
    first, again = (renewal_of(client, device, certificate, following) for _ in range(2))
    assert first[0] == again[0] == 200  # an answer that was lost is asked for again
    key = Authority.load(folder).identity.public_key
    assert verify(bytes.fromhex(first[1]["certificate"]), key, NOW).device_key == following.public_key
    assert verify(certificate, key, NOW + 1).device_key == device.public_key
    status, answer = renewal_of(client, device, certificate, Identity.generate())
    assert status == 403
    assert "successor already" in answer["error"]
    restarted = create_authority_app(Authority.load(folder), ["x"], Renewals(folder), clock=lambda: NOW).test_client()
    assert renewal_of(restarted, device, certificate, Identity.generate())[0] == 403


@pytest.mark.parametrize(
    "how", ["expired", "too early", "foreign", "stolen certificate", "key of another", "same key", "garbage"]
)
def test_a_renewal_that_does_not_hold_is_refused(client, folder, enrolled, how):
    device, certificate = enrolled
    other, following = Identity.generate(), Identity.generate()
    if how == "expired":
        certificate = Authority.load(folder).certify(device.public_key, NOW - 9e6, 30).encode()
    if how == "too early":
        certificate = Authority.load(folder).certify(device.public_key, NOW, 30).encode()
    if how == "foreign":
        certificate = issue(other, device.public_key, authority_name="x", not_before=0, not_after=2e9).encode()
    request = ask_renewal(device, certificate, following)
    if how == "stolen certificate":
        request = ask_renewal(other, certificate, following)
    if how == "key of another":
        request = msgspec.structs.replace(request, next_key=other.public_key)
    if how == "same key":
        request = ask_renewal(device, certificate, device)
    raw = b"garbage" if how == "garbage" else request.encode()
    response = client.post("/v1/renewals", data=msgspec.json.encode({"renewal": raw.hex()}))
    assert response.status_code == 403
    assert "certificate" not in response.get_json()
    assert not (folder / "renewed").exists()
    assert client.post("/v1/renewals", data=b"{}").status_code == 400


def test_a_revoked_device_gets_no_next_key_and_a_revocation_is_about_all_its_keys(client, folder, enrolled):
    device, certificate = enrolled
    following = Identity.generate()
    status, answer = renewal_of(client, device, certificate, following)
    assert status == 200
    assert run("trust", folder, "--revoke", device.fingerprint.hex()).exit_code == 0
    revoked = Authority.load(folder).trust_list.revoked
    assert set(revoked) == {device.fingerprint, following.fingerprint}
    later = bytes.fromhex(answer["certificate"])
    much_later = NOW + 360 * 86_400
    renewing = create_authority_app(Authority.load(folder), ["x"], Renewals(folder), clock=lambda: much_later)
    status, answer = renewal_of(renewing.test_client(), following, later, Identity.generate())
    assert status == 403
    assert "took this device's certificate back" in answer["error"]


def test_a_chain_of_keys_grows_no_faster_than_certificates_age(client, enrolled):
    device, certificate = enrolled
    following = Identity.generate()
    later = bytes.fromhex(renewal_of(client, device, certificate, following)[1]["certificate"])
    status, answer = renewal_of(client, following, later, Identity.generate())
    assert status == 403
    assert "last third" in answer["error"]
