"""The device's HTTP client against real servers that answer well, badly, too much, too late or not at all."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from federated_protocol import wire
from federated_protocol.messages import (
    ComeBack,
    ComeBackReason,
    ModelNotice,
    Pending,
    Phase,
    Refusal,
    RefusalReason,
    Roster,
    SignedMessage,
)
from keyboard_app.device.transport import BadAnswer, CoordinatorUnreachable, Refused, Transport

MESSAGE = SignedMessage(b"d" * 16, b"payload", b"s" * 64)
ROSTER = Roster(participants=2, neighbours=1, threshold=1, index=1, root=bytes(32), entries=(), proof=b"")
COME_BACK = ComeBack(5.0, ComeBackReason.PACE, ModelNotice(1, "ab" * 32))
Answer = tuple[int, bytes]


class Server:
    """A real HTTP/1.1 server; ``answer`` decides what comes back and ``seen`` holds what came in."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes, int]] = []
        self.answer: Callable[[], Answer] = lambda: (200, wire.encode(COME_BACK))
        self.connections = 0
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                head = len(self.raw_requestline) + sum(len(k) + len(v) + 4 for k, v in self.headers.items()) + 2
                outer.seen.append((self.command, self.path, body, head + len(body)))
                status, content = outer.answer()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                outer.sent = sum(len(line) for line in self._headers_buffer) + 2 + len(content)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def transport(server: Server) -> Iterator[Transport]:
    transport = Transport(server.url, timeout_s=30.0, largest_answer=10_000)
    yield transport
    transport.close()


def test_requests_travel_as_messagepack_over_one_connection(server: Server, transport: Transport) -> None:
    for _ in range(3):
        assert transport.check_in(MESSAGE) == COME_BACK
    assert {seen[:3] for seen in server.seen} == {("POST", "/v1/check-in", wire.encode(MESSAGE))}
    assert server.connections == 1


def test_every_byte_is_counted_in_both_directions(server: Server, transport: Transport) -> None:
    transport.check_in(MESSAGE)
    assert transport.traffic.up == server.seen[0][3]
    assert transport.traffic.down == server.sent


def test_paths_name_session_phase_and_device(server: Server) -> None:
    server.answer = lambda: (200, wire.encode(Pending(1.0)))
    for wait_s in (0, 20):
        transport = Transport(server.url, wait_s=wait_s)
        transport.plan("s-1", b"\x01\xff")
        transport.send("s-1", Phase.SHARE, MESSAGE)
        transport.result("s-1", Phase.MASKED_INPUT, b"\x01\xff")
        transport.close()
    assert [(method, path) for method, path, _, _ in server.seen] == [
        ("GET", "/v1/sessions/s-1/plan?device=01ff"),
        ("POST", "/v1/sessions/s-1/share"),
        ("GET", "/v1/sessions/s-1/masked_input?device=01ff"),
        ("GET", "/v1/sessions/s-1/plan?device=01ff&wait=20"),
        ("POST", "/v1/sessions/s-1/share?wait=20"),
        ("GET", "/v1/sessions/s-1/masked_input?device=01ff&wait=20"),
    ]


def test_a_message_may_be_answered_with_its_phases_result(server: Server, transport: Transport) -> None:
    server.answer = lambda: (200, wire.encode(ROSTER))
    assert transport.send("s-1", Phase.ADVERTISE, MESSAGE) == ROSTER
    with pytest.raises(BadAnswer, match="Roster is no answer to share"):
        transport.send("s-1", Phase.SHARE, MESSAGE)


def test_a_request_that_waits_outlasts_the_timeout_and_can_be_cut_short(server: Server) -> None:
    asked, answers = threading.Event(), threading.Event()

    def answer() -> Answer:
        asked.set()
        answers.wait(60.0)
        return 200, wire.encode(Pending(1.0))

    server.answer = answer
    transport = Transport(server.url, timeout_s=0.05, wait_s=20)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(transport.send, "s-1", Phase.SHARE, MESSAGE)
        assert asked.wait(30.0)
        with pytest.raises(TimeoutError):
            first.result(0.2)
        transport.cut_short()
        with pytest.raises(CoordinatorUnreachable):
            first.result(30.0)
    assert len(server.seen) == 1  # nothing was sent again behind the caller's back
    answers.set()
    assert transport.send("s-1", Phase.SHARE, MESSAGE) == Pending(1.0)
    transport.close()


def test_a_session_name_that_is_no_plain_word_reaches_no_path(transport: Transport) -> None:
    for name in ("../admin", "a b", "", "x" * 200, "a?b"):
        with pytest.raises(BadAnswer):
            transport.plan(name, b"")


def test_a_refusal_keeps_its_reason(server: Server, transport: Transport) -> None:
    server.answer = lambda: (409, wire.encode(Refusal(RefusalReason.WRONG_PHASE, "wait for the next round")))
    with pytest.raises(Refused, match="wait for the next round") as refused:
        transport.check_in(MESSAGE)
    assert refused.value.reason is RefusalReason.WRONG_PHASE


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, b"\xc1 no message"), BadAnswer),
        ((200, b""), BadAnswer),
        ((200, wire.encode(Pending(1.0))), BadAnswer),
        ((200, msgspec.msgpack.encode({"type": "come_back", "surprise": 1})), BadAnswer),
        ((200, b"x" * 10_001), BadAnswer),
        ((302, b""), BadAnswer),
        ((404, b"<html>"), BadAnswer),
        ((502, b"<html>bad gateway"), CoordinatorUnreachable),
        ((429, b"slow down"), CoordinatorUnreachable),
        ((503, wire.encode(Refusal(RefusalReason.UNAVAILABLE, "starting"))), CoordinatorUnreachable),
    ],
)
def test_every_bad_answer_is_one_of_three_errors(
    server: Server, transport: Transport, answer: Answer, error: type[Exception]
) -> None:
    server.answer = lambda: answer
    with pytest.raises(error):
        transport.check_in(MESSAGE)
    server.answer = lambda: (200, wire.encode(COME_BACK))
    assert transport.check_in(MESSAGE) == COME_BACK


def test_a_result_of_another_phase_is_a_bad_answer(server: Server, transport: Transport) -> None:
    server.answer = lambda: (200, wire.encode(ROSTER))
    assert transport.result("s", Phase.ADVERTISE, b"") == ROSTER
    with pytest.raises(BadAnswer, match="Roster is no answer to share"):
        transport.result("s", Phase.SHARE, b"")


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(CoordinatorUnreachable):
        Transport(address).check_in(MESSAGE)


def read_request(peer: socket.socket) -> None:
    """All of a check-in, which comes in two pieces: whoever closes before all is read resets the connection."""
    raw, body = b"", wire.encode(MESSAGE)
    while not raw.endswith(body):
        raw += peer.recv(65536) or body


def test_a_connection_the_server_closed_meanwhile_is_opened_again(server: Server, transport: Transport) -> None:
    # A server that answers one request a connection and closes it without announcing that.
    listener = socket.create_server(("127.0.0.1", 0))
    content = wire.encode(COME_BACK)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)

    def serve() -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            with peer:
                read_request(peer)
                peer.sendall(head + content)

    thread = threading.Thread(target=serve)
    thread.start()
    impatient = Transport(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=30.0)
    assert impatient.check_in(MESSAGE) == COME_BACK
    assert impatient.check_in(MESSAGE) == COME_BACK
    thread.join()
    listener.close()


def test_a_server_that_never_answers_is_given_up_after_the_timeout_and_can_be_interrupted_before() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(CoordinatorUnreachable, match="slow"):
        Transport(address, timeout_s=0.05).check_in(MESSAGE)
    listener.accept()[0].close()

    patient = Transport(address, timeout_s=30.0)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            patient.check_in(MESSAGE)
        except CoordinatorUnreachable as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    peer, _ = listener.accept()
    peer.recv(1)
    patient.interrupt()
    thread.join(20.0)
    assert not thread.is_alive()  # long before its own time was over
    assert len(errors) == 1
    with pytest.raises(CoordinatorUnreachable, match="stopped"):
        patient.check_in(MESSAGE)
    peer.close()
    listener.close()


def test_an_answer_that_ends_early_is_no_answer(server: Server, transport: Transport) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            with peer:
                read_request(peer)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(CoordinatorUnreachable, match="cut"):
        Transport(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=30.0).check_in(MESSAGE)
    thread.join()
    listener.close()


def test_an_https_server_counts_only_with_a_certificate_that_the_system_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    content = wire.encode(COME_BACK)

    def answer(peer: socket.socket) -> None:
        peer.settimeout(30.0)
        with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as secured:
            read_request(secured)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

    def serve() -> None:  # each on a thread of its own: whoever is turned away, or strays here, keeps nobody waiting
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with pytest.raises(CoordinatorUnreachable, match="SSLCertVerificationError"):
        Transport(address, timeout_s=30.0).check_in(MESSAGE)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert Transport(address, timeout_s=30.0).check_in(MESSAGE) == COME_BACK
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _self_signed(folder: Path) -> Path:
    """Key and certificate of 127.0.0.1 in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_an_address_that_is_none_is_refused_at_once() -> None:
    for address in ("", "coordinator", "ftp://x", "http://"):
        with pytest.raises(ValueError, match="not an address"):
            Transport(address)
