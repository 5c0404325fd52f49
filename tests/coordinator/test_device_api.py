"""The device API over real HTTP on loopback: whatever is wrong gets a named refusal that says what to do."""

from __future__ import annotations

import hashlib
import logging
import re
from http.client import HTTPConnection
from urllib.parse import urlsplit

import msgspec
import pytest
import urllib3

from federated_protocol import wire
from federated_protocol.messages import (
    CheckInAnswer,
    ComeBack,
    ComeBackReason,
    KeyAdvertisement,
    Pending,
    Phase,
    PlanAnswer,
    Refusal,
    RefusalReason,
    Roster,
    Selected,
    SignedMessage,
    UpgradeRequired,
)
from federated_protocol.signing import CHECK_IN, Identity, sign


@pytest.fixture
def http(deployment, serve):
    return serve(deployment.app)


@pytest.fixture
def device(deployment, http):
    deployment.tick()
    return deployment.device(transport=http)


@pytest.fixture
def cohort(deployment, http):
    """Ten devices in an advertising round."""
    devices = deployment.select(10)
    for member in devices:
        member.transport = http
    return devices


def refusal(answer: tuple[int, bytes]) -> tuple[int, RefusalReason]:
    status, data = answer
    found = wire.decode(data, Refusal)
    assert len(found.message) > 10
    return status, found.reason


# -- check-in -----------------------------------------------------------------------------------------------------


def test_an_enrolled_device_is_selected_while_a_round_is_selecting(device):
    answer = device.check_in()
    assert isinstance(answer, Selected)
    assert answer.current.version == 0
    assert 0 < answer.retry_after_s <= 0.5
    assert isinstance(device.get("plan"), Pending)


def test_a_device_that_only_wants_news_joins_nothing(deployment, device):
    answer = device.check_in(wants_round=False)
    assert isinstance(answer, ComeBack)
    assert deployment.coordinator_rounds(1)[0].still_in == 0


def test_identical_check_ins_get_the_stored_answer_and_join_once(deployment, device):
    signed = sign(device.check_in_message(), CHECK_IN, "", device.identity)
    assert device.post_check_in(signed) == device.post_check_in(signed)
    device.check_in()
    assert deployment.coordinator_rounds(1)[0].still_in == 1


def test_a_nonce_used_for_another_check_in_is_a_conflict(device):
    first = device.check_in_message()
    device.post_check_in(sign(first, CHECK_IN, "", device.identity))
    other = msgspec.structs.replace(first, app_version="other")
    answer = device.post_check_in(sign(other, CHECK_IN, "", device.identity))
    assert answer.reason is RefusalReason.CONFLICTING_REPEAT


def test_a_replayed_check_in_is_refused_once_its_time_is_off(deployment, device):
    signed = sign(device.check_in_message(), CHECK_IN, "", device.identity)
    device.post_check_in(signed)
    deployment.clock.advance(601)
    assert device.post_check_in(signed).reason is RefusalReason.CLOCK_SKEW


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issued_at": float("nan")}, RefusalReason.CLOCK_SKEW),
        ({"nonce": b"short"}, RefusalReason.MALFORMED),
        ({"certificate": b"nothing"}, RefusalReason.NOT_ENROLLED),
        ({"protocol_version": 99}, RefusalReason.UPGRADE_REQUIRED),
        ({"app_version": "x" * 5000}, RefusalReason.TOO_LARGE),
    ],
)
def test_check_ins_with_wrong_values_are_refused_by_name(device, changes, reason):
    assert device.check_in(**changes).reason is reason


def test_an_older_protocol_hears_that_it_must_upgrade(device):
    assert isinstance(device.check_in(protocol_version=0), UpgradeRequired)


def test_certificates_of_strangers_and_expired_ones_are_refused(deployment, http):
    stranger = deployment.device(transport=http, signer=Identity.generate())
    assert stranger.check_in().reason is RefusalReason.NOT_ENROLLED
    late = deployment.device(transport=http, not_after=deployment.clock.now - 1)
    assert late.check_in().reason is RefusalReason.CERTIFICATE_EXPIRED
    demo = deployment.device(transport=http, insecure_demo=True)
    assert demo.check_in().reason is RefusalReason.NOT_ENROLLED


def test_an_unsigned_check_in_or_one_signed_for_another_purpose_is_refused(device):
    signed = sign(device.check_in_message(), "advertise", "", device.identity)
    assert device.post_check_in(signed).reason is RefusalReason.BAD_SIGNATURE
    unsigned = msgspec.structs.replace(signed, signature=b"")
    assert device.post_check_in(unsigned).reason is RefusalReason.BAD_SIGNATURE


def test_a_full_round_and_a_running_one_ask_to_come_back(deployment, http):
    deployment.tick()
    for device in deployment.devices(10, http):
        device.check_in()
    answer = deployment.device(transport=http).check_in()
    assert isinstance(answer, ComeBack)
    assert answer.reason is ComeBackReason.PACE
    assert 0.5 <= answer.after_s <= 72


# -- messages of a round -----------------------------------------------------------------------------------------


def test_an_identical_repeat_gets_the_stored_answer_and_another_message_is_refused(cohort):
    device = cohort[0]
    first = device.post(Phase.ADVERTISE)
    assert isinstance(first, Pending)
    assert device.post_signed(Phase.ADVERTISE, device.sent[Phase.ADVERTISE]) == first
    other = device.post(Phase.ADVERTISE, KeyAdvertisement(cipher_key=b"c" * 32, mask_key=b"m" * 32))
    assert other.reason is RefusalReason.CONFLICTING_REPEAT


def test_a_repeat_is_still_answered_after_the_phase_closed_and_after_a_restart(deployment, serve, cohort):
    for device in cohort:
        device.post(Phase.ADVERTISE)
    first = cohort[0].post_signed(Phase.ADVERTISE, cohort[0].sent[Phase.ADVERTISE])
    deployment.restart()
    cohort[0].transport = serve(deployment.app)
    assert cohort[0].post_signed(Phase.ADVERTISE, cohort[0].sent[Phase.ADVERTISE]) == first


def test_a_message_signed_by_another_device_or_for_another_session_is_refused(cohort):
    device, other = cohort[:2]
    message = device.message(Phase.ADVERTISE)
    for signed in (
        sign(message, Phase.ADVERTISE, "0" * 32, device.identity),
        sign(message, Phase.SHARE, device.session, device.identity),
        msgspec.structs.replace(
            sign(message, Phase.ADVERTISE, device.session, other.identity), device=device.identity.fingerprint
        ),
    ):
        assert device.post_signed(Phase.ADVERTISE, signed).reason is RefusalReason.BAD_SIGNATURE


def test_a_phase_that_is_not_open_takes_no_message(cohort):
    device = cohort[0]
    message = device.message(Phase.ADVERTISE)
    for phase in (Phase.SHARE, Phase.MASKED_INPUT, Phase.CONFIRM, Phase.UNMASK):
        assert device.post(phase, message).reason in (RefusalReason.MALFORMED, RefusalReason.WRONG_PHASE)
    signed = sign(
        KeyAdvertisement(cipher_key=b"c" * 32, mask_key=b"m" * 32),
        Phase.ADVERTISE,
        device.session,
        device.identity,
        device.client.binding,
    )
    for member in cohort:
        member.post(Phase.ADVERTISE, message if member is device else None)
    assert device.post_signed(Phase.ADVERTISE, signed).reason is RefusalReason.CONFLICTING_REPEAT


def test_a_device_that_missed_a_phase_is_out(deployment, cohort):
    for device in cohort[1:]:
        device.post(Phase.ADVERTISE)
    deployment.tick(31)
    late = cohort[0]
    assert late.post(Phase.ADVERTISE).reason is RefusalReason.WRONG_PHASE
    assert late.get("advertise").reason is RefusalReason.WRONG_PHASE
    assert late.get("plan").reason is RefusalReason.WRONG_PHASE
    assert isinstance(cohort[1].get("advertise"), Roster)


def test_strangers_and_unknown_sessions_are_refused(deployment, cohort, http):
    stranger = deployment.device(transport=http)
    stranger.session = cohort[0].session
    assert stranger.get("plan").reason is RefusalReason.NOT_A_PARTICIPANT
    stranger.session = "f" * 32
    assert stranger.get("plan").reason is RefusalReason.UNKNOWN_SESSION
    assert refusal(http("POST", "/v1/sessions/nonsense/advertise", b"x"))[0] == 404
    assert refusal(http("GET", f"/v1/sessions/{cohort[0].session}/plan?device=xyz", None))[0] == 400
    assert refusal(http("GET", f"/v1/sessions/{cohort[0].session}/dance?device={'0' * 32}", None))[0] == 400


@pytest.mark.parametrize(
    "message",
    [
        KeyAdvertisement(cipher_key=b"", mask_key=b"m" * 32),
        KeyAdvertisement(cipher_key=b"c" * 33, mask_key=b"m" * 32),
        KeyAdvertisement(cipher_key=b"c" * 32, mask_key=b"c" * 32),
    ],
)
def test_keys_that_no_device_makes_are_malformed(cohort, message):
    assert cohort[0].post(Phase.ADVERTISE, message).reason is RefusalReason.MALFORMED


def test_two_devices_with_the_same_key_do_not_stop_the_cohort(deployment, cohort):
    copied = cohort[0].message(Phase.ADVERTISE)
    cohort[0].post(Phase.ADVERTISE, copied)
    cohort[1].post(Phase.ADVERTISE, copied)
    for device in cohort[2:]:
        device.post(Phase.ADVERTISE)
    row = deployment.coordinator_rounds(1)[0]
    assert (row.state.value, row.advertised) == ("sharing", 9)


def test_a_masked_input_of_another_size_is_malformed(deployment, cohort):
    for phase in (Phase.ADVERTISE, Phase.SHARE):
        deployment.run_phase(phase, cohort)
    device = cohort[0]
    message = device.message(Phase.MASKED_INPUT)
    short = msgspec.structs.replace(message, packed=message.packed[:-1])
    assert device.post(Phase.MASKED_INPUT, short).reason is RefusalReason.MALFORMED
    assert isinstance(device.post(Phase.MASKED_INPUT, message), Pending)


# -- bytes that are no messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"\xc1", b"{}", b"\x93" * 3000, b"\x81\xa1x\x01", bytes(range(256))])
def test_bytes_that_are_no_message_are_malformed(http, body):
    assert refusal(http("POST", "/v1/check-in", body)) == (400, RefusalReason.MALFORMED)


def test_a_signed_envelope_around_nonsense_is_malformed(cohort):
    device = cohort[0]
    for kind in (b"", b"\xc1", b"\x80"):
        from federated_protocol.signing import signed_bytes

        signature = device.identity.sign(signed_bytes(Phase.ADVERTISE, device.session, kind, device.client.binding))
        signed = SignedMessage(device=device.identity.fingerprint, payload=kind, signature=signature)
        assert device.post_signed(Phase.ADVERTISE, signed).reason is RefusalReason.MALFORMED


def test_oversized_bodies_are_refused_before_they_are_read(http, cohort):
    assert refusal(http("POST", "/v1/check-in", b"x" * 5000)) == (413, RefusalReason.TOO_LARGE)
    for phase in Phase:
        path = f"/v1/sessions/{cohort[0].session}/{phase.value}"
        assert refusal(http("POST", path, b"x" * 60_000)) == (413, RefusalReason.TOO_LARGE)


def test_a_body_without_a_length_is_bounded_too(deployment, serve):
    base = serve(deployment.app)
    host = urlsplit(base.address)
    connection = HTTPConnection(host.hostname, host.port)
    connection.request(
        "POST",
        "/v1/check-in",
        body=iter([b"x" * 1000] * 9),
        headers={"Content-Type": wire.CONTENT_TYPE},
        encode_chunked=True,
    )
    response = connection.getresponse()
    assert response.status in (400, 413)
    assert wire.decode(response.read(), Refusal).reason in (RefusalReason.TOO_LARGE, RefusalReason.MALFORMED)
    connection.close()


def test_paths_and_methods_that_do_not_exist_are_refused(http):
    for method, path in (("GET", "/v1/nothing"), ("DELETE", "/v1/check-in"), ("GET", "/v1/models/x")):
        assert refusal(http(method, path, None))[0] in (400, 404)
    assert refusal(http("GET", "/v1/models/7", None)) == (404, RefusalReason.UNKNOWN_MODEL)


def test_json_is_accepted_for_debugging(device, http):
    base = http.address
    signed = sign(device.check_in_message(), CHECK_IN, "", device.identity)
    response = urllib3.request(
        "POST", f"{base}/v1/check-in", body=wire.encode_json(signed), headers={"Content-Type": "application/json"}
    )
    assert response.status == 200
    assert isinstance(wire.decode_json(response.data, CheckInAnswer), Selected)
    plain = urllib3.request("POST", f"{base}/v1/check-in", body=b"hello", headers={"Content-Type": "text/plain"})
    assert (plain.status, wire.decode(plain.data, Refusal).reason) == (400, RefusalReason.MALFORMED)


def test_the_plan_and_the_model_fit_together(cohort, http):
    plan = cohort[0].plan
    assert isinstance(cohort[0].get("plan"), PlanAnswer)
    status, artifact = http("GET", f"/v1/models/{plan.model_version}", None)
    assert status == 200
    assert hashlib.sha256(artifact).hexdigest() == plan.model_digest


def test_a_look_for_newer_release_keys_leaves_no_line_in_the_log(http, caplog):
    """Every device asks for the root after its own each time it checks a version."""

    def lines() -> list[str]:
        return [record.message for record in caplog.records if record.name == "coordinator"]

    with caplog.at_level(logging.DEBUG, logger="coordinator"):
        assert refusal(http("GET", "/v1/releases/2.root.json", None)) == (404, RefusalReason.UNKNOWN_MODEL)
        assert not lines()
        assert refusal(http("GET", "/v1/models/7", None)) == (404, RefusalReason.UNKNOWN_MODEL)
        assert "refused" in lines()[-1]


def test_an_unexpected_failure_says_unavailable_and_logs_no_content(deployment, http, caplog, monkeypatch):
    def explode(*_):
        raise RuntimeError("secret canary text")

    monkeypatch.setattr(deployment.coordinator.models, "current", explode)
    with caplog.at_level(logging.DEBUG, logger="coordinator"):
        assert refusal(http("GET", "/v1/health", None)) == (503, RefusalReason.UNAVAILABLE)
    assert "internal_error" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


def test_log_lines_hold_fixed_names_and_numbers_only(deployment, caplog):
    with caplog.at_level(logging.DEBUG, logger="coordinator"):
        deployment.run_round(deployment.select(10))
        deployment.call("POST", "/v1/check-in", b"typed text")
    lines = [record.getMessage() for record in caplog.records if record.name == "coordinator"]
    assert len(lines) > 6
    for line in lines:
        assert re.fullmatch(r"[a-z_]+( [a-z_]+=-?[0-9.e+-]+)*", line), line
