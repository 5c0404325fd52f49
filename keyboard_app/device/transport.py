"""The device's side of the HTTP API: MessagePack bodies, one connection kept open, every failure one of three.

Answers are bounded in size and time, redirects are not followed, and both directions are counted (headers and
bodies) so that a person can see what a round cost. Every request can be repeated safely, therefore a connection that
the other side had closed meanwhile is opened again once without further ado.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError, ProtocolError, ReadTimeoutError
from urllib3.util import SKIP_HEADER

from federated_protocol import wire
from federated_protocol.errors import MalformedMessage
from federated_protocol.messages import (
    Abandoned,
    CheckInAnswer,
    Confirmations,
    Finished,
    Mailbox,
    Pending,
    Phase,
    PlanAnswer,
    Refusal,
    RefusalReason,
    Roster,
    SessionAnswer,
    SignedMessage,
    Survivors,
)
from federated_protocol.releases import RELEASES_PATH

LONGEST_WAIT_S = 30
"""Coordinators hold an answer no longer than that, however long they are asked to."""

_LEGAL: dict[str, tuple[type, ...]] = {
    "plan": (Pending, Abandoned, PlanAnswer),
    Phase.ADVERTISE.value: (Pending, Abandoned, Roster),
    Phase.SHARE.value: (Pending, Abandoned, Mailbox),
    Phase.MASKED_INPUT.value: (Pending, Abandoned, Survivors),
    Phase.CONFIRM.value: (Pending, Abandoned, Confirmations),
    Phase.UNMASK.value: (Pending, Abandoned, Finished),
}


class CoordinatorError(Exception):
    """Base of everything that can go wrong between this device and a coordinator."""


class CoordinatorUnreachable(CoordinatorError):  # noqa: N818 - says what it is
    """No answer: away, too slow, or overloaded. Trying again later is right."""


class Refused(CoordinatorError):  # noqa: N818 - says what it is
    """The coordinator refused this request; ``reason`` says why."""

    def __init__(self, reason: RefusalReason, message: str = "") -> None:
        super().__init__(f"the coordinator refused ({reason.value})" + (f": {message}" if message else ""))
        self.reason = reason


class BadAnswer(CoordinatorError):  # noqa: N818 - says what it is
    """The answer is not what this protocol allows: wrong type, too large, not decodable."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes sent and received, request and status lines, headers and bodies; TLS and TCP framing not included."""

    up: int = 0
    down: int = 0

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.up - other.up, self.down - other.down)


class Transport:
    """A client of the device API.

    Args:
        base_url: of the coordinator, e.g. ``https://coordinator.example``; may hold a path prefix.
        timeout_s: longest wait for a connection, and between two pieces of an answer.
        largest_answer: bytes a round's answer may have.
        largest_model: bytes a model may have.
        wait_s: whole seconds for which a round's requests ask the coordinator to hold its answer until there is a
            result, which saves asking again; 0 where one thread serves several devices and must not wait for one.

    Raises:
        ValueError: the address is not an http(s) URL.
    """

    def __init__(
        self,
        base_url: str,
        timeout_s: float = 20.0,
        largest_answer: int = 8 * 1024 * 1024,
        largest_model: int = 64 * 1024 * 1024,
        wait_s: int = LONGEST_WAIT_S,
    ) -> None:
        try:
            url = urllib3.util.parse_url(base_url)
        except LocationParseError:
            url = urllib3.util.Url()
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{base_url!r} is not an address like http://host:port")
        self._lock = threading.Lock()
        self._up = 0
        self._down = 0
        self._open: set[HTTPConnection] = set()
        self._interrupted = False
        self._cut_short = False
        self._wait_s = wait_s
        self._prefix = (url.path or "").rstrip("/")
        self._largest_answer = largest_answer
        self._largest_model = largest_model
        timeout = urllib3.Timeout(connect=min(timeout_s, 10.0), read=timeout_s)
        self._patient = urllib3.Timeout(connect=min(timeout_s, 10.0), read=timeout_s + wait_s)
        pool_type = _https_pool(self) if url.scheme == "https" else _http_pool(self)
        self._pool = pool_type(url.host, url.port, timeout=timeout, retries=False, maxsize=1)

    @property
    def traffic(self) -> Traffic:
        """Bytes so far."""
        with self._lock:
            return Traffic(self._up, self._down)

    def check_in(self, message: SignedMessage) -> CheckInAnswer:
        """POST /v1/check-in.

        Raises:
            CoordinatorError: unreachable, refused or bad answer.
        """
        raw = self._request("POST", "/v1/check-in", wire.encode(message), self._largest_answer)
        answer: CheckInAnswer = self._decode(raw, CheckInAnswer)
        return answer

    def plan(self, session: str, device: bytes) -> Pending | Abandoned | PlanAnswer:
        """GET the plan of a session. Raises as :meth:`check_in`."""
        answer = self._session_answer("GET", session, "plan", self._query(device))
        assert isinstance(answer, Pending | Abandoned | PlanAnswer)  # by _LEGAL
        return answer

    def send(self, session: str, phase: Phase, message: SignedMessage) -> SessionAnswer:
        """POST a phase's message; answered like :meth:`result`.

        Identical bytes may be sent again. Raises as :meth:`check_in`.
        """
        query = f"?wait={self._wait_s}" if self._wait_s else ""
        return self._session_answer("POST", session, phase.value, query, wire.encode(message))

    def result(self, session: str, phase: Phase, device: bytes) -> SessionAnswer:
        """GET a phase's result: its own result type, Pending or Abandoned. Raises as :meth:`check_in`."""
        return self._session_answer("GET", session, phase.value, self._query(device))

    def model(self, version: int) -> bytes:
        """GET a model artifact's bytes, unverified. Raises as :meth:`check_in`."""
        return self._request("GET", f"/v1/models/{int(version)}", None, self._largest_model)

    def anchor(self, version: int) -> bytes:
        """GET the anchor of a model, for a pass of FSVRG from it; unverified. Raises as :meth:`check_in`."""
        return self._request("GET", f"/v1/models/{int(version)}/anchor", None, self._largest_model)

    def release_metadata(self, name: str, largest: int) -> bytes:
        """GET a file of signed release metadata, unverified, at most ``largest`` bytes. Raises as :meth:`check_in`."""
        return self._request("GET", f"{RELEASES_PATH}/{_segment(name)}", None, largest)

    def interrupt(self) -> None:
        """End requests in flight now, from another thread; they and all later ones raise CoordinatorUnreachable."""
        with self._lock:
            self._interrupted = True
        self.cut_short()

    def cut_short(self) -> None:
        """End a request in flight now, from another thread: something changed, and its answer may be long in coming.

        It raises CoordinatorUnreachable; the next one goes through.
        """
        with self._lock:
            self._cut_short = True
            connections = list(self._open)
        for connection in connections:
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def resume(self) -> None:
        """Allow requests again after :meth:`interrupt`."""
        with self._lock:
            self._interrupted = False

    def close(self) -> None:
        """Close the connection; the next request would open a new one."""
        self._pool.close()
        with self._lock:
            self._open.clear()

    def _query(self, device: bytes) -> str:
        return f"?device={device.hex()}" + (f"&wait={self._wait_s}" if self._wait_s else "")

    def _session_answer(
        self, method: str, session: str, what: str, query: str, body: bytes | None = None
    ) -> SessionAnswer:
        path = f"/v1/sessions/{_segment(session)}/{what}{query}"
        raw = self._request(method, path, body, self._largest_answer, self._patient)
        answer: SessionAnswer = self._decode(raw, SessionAnswer)
        if not isinstance(answer, _LEGAL[what]):
            raise BadAnswer(f"a {type(answer).__name__} is no answer to {what}")
        return answer

    def _decode(self, raw: bytes, kind: Any) -> Any:
        try:
            return wire.decode(raw, kind, limit_bytes=self._largest_answer)
        except MalformedMessage as problem:
            raise BadAnswer(f"the coordinator's answer makes no sense: {problem}") from None

    def _request(
        self, method: str, path: str, body: bytes | None, largest: int, timeout: urllib3.Timeout | None = None
    ) -> bytes:
        with self._lock:
            self._cut_short = False
        where = self._prefix + path
        status, raw = exchange(self._pool, method, where, body, wire.CONTENT_TYPE, largest, self, timeout)
        if status == 200:
            return raw
        try:
            refusal: Refusal = wire.decode(raw, Refusal)
        except MalformedMessage:
            if status >= 500 or status == 429:
                raise CoordinatorUnreachable(f"the coordinator answered with status {status}") from None
            raise BadAnswer(f"status {status} without a reason") from None
        if refusal.reason is RefusalReason.UNAVAILABLE:
            raise CoordinatorUnreachable("the coordinator is not ready to answer")
        raise Refused(refusal.reason, refusal.message)

    # -- called by the connections -----------------------------------------------------------------------------

    def count(self, up: int = 0, down: int = 0) -> None:
        """Add to the traffic."""
        with self._lock:
            self._up += up
            self._down += down

    def opened(self, connection: HTTPConnection) -> None:
        """Remember a connection, so that it can be interrupted."""
        with self._lock:
            self._open.add(connection)
            interrupted = self._interrupted
        if interrupted:
            connection.close()
            raise CoordinatorUnreachable("stopped")

    @property
    def interrupted(self) -> bool:
        """Whether requests are to end at once."""
        return self._interrupted

    @property
    def ended_by_us(self) -> bool:
        """Whether a connection that broke was ended from this side, so that its request is not to be repeated."""
        return self._interrupted or self._cut_short


def exchange(
    pool: urllib3.HTTPConnectionPool,
    method: str,
    path: str,
    body: bytes | None,
    content_type: str,
    largest: int,
    counter: Transport | None = None,
    timeout: urllib3.Timeout | None = None,
) -> tuple[int, bytes]:
    """One request and its whole answer, at most ``largest`` bytes of it; ``timeout`` if not the pool's.

    Returns:
        The status and the body.

    Raises:
        CoordinatorUnreachable: no connection, no answer in time, or cut off half-way.
        BadAnswer: longer than allowed.
    """
    # Every header is paid for in each of a round's dozen requests; MessagePack is what the device API speaks anyway.
    headers = {"Accept-Encoding": SKIP_HEADER, "User-Agent": SKIP_HEADER}
    if content_type != wire.CONTENT_TYPE:
        headers["Accept"] = content_type
        if body is not None:
            headers["Content-Type"] = content_type
    for attempt in (1, 2):
        if counter is not None and counter.interrupted:
            raise CoordinatorUnreachable("stopped")
        try:
            return _exchange_once(pool, method, path, body, headers, largest, counter, timeout or pool.timeout)
        except ReadTimeoutError:
            raise CoordinatorUnreachable("the coordinator is too slow to answer") from None
        except ProtocolError:
            # A kept-alive connection may have been closed by the other side between two requests.
            if attempt == 2 or (counter is not None and counter.ended_by_us):
                raise CoordinatorUnreachable("the connection was cut") from None
        except (HTTPError, OSError) as problem:
            raise CoordinatorUnreachable(f"no connection to the coordinator ({type(problem).__name__})") from None
    raise AssertionError("unreachable")


def _exchange_once(
    pool: urllib3.HTTPConnectionPool,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    largest: int,
    counter: Transport | None,
    timeout: urllib3.Timeout,
) -> tuple[int, bytes]:
    answer = pool.urlopen(
        method, path, body=body, headers=headers, preload_content=False, redirect=False, timeout=timeout
    )
    pieces: list[bytes] = []
    size = 0
    try:
        if counter is not None:
            counter.count(down=_head_size(answer))
        while piece := answer.read(65536, decode_content=False):
            size += len(piece)
            if size > largest:
                raise BadAnswer(f"an answer of more than {largest} bytes")
            pieces.append(piece)
    except BaseException:
        answer.close()
        raise
    finally:
        if counter is not None:
            counter.count(down=size)
        answer.release_conn()
    return answer.status, b"".join(pieces)


def _head_size(answer: urllib3.BaseHTTPResponse) -> int:
    """Bytes of the status line and headers, as they stood on the wire."""
    status_line = len(f"HTTP/1.1 {answer.status} {answer.reason or ''}\r\n")
    return status_line + sum(len(name) + len(value) + 4 for name, value in answer.headers.items()) + 2


def _segment(session: str) -> str:
    """The session id as a path segment; it came from the coordinator, so it is checked before it is used."""
    if not (0 < len(session) <= 128 and all(c.isascii() and (c.isalnum() or c in "-_.") for c in session)):
        raise BadAnswer("the session's name is not a plain word")
    return session


def _http_pool(transport: Transport) -> type[urllib3.HTTPConnectionPool]:
    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            transport.opened(self)

        def send(self, data: Any) -> None:
            transport.count(up=_size(data))
            super().send(data)

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


def _https_pool(transport: Transport) -> type[urllib3.HTTPSConnectionPool]:
    class Connection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            transport.opened(self)

        def send(self, data: Any) -> None:
            transport.count(up=_size(data))
            super().send(data)

    class Pool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Connection

    return Pool


def _size(data: Any) -> int:
    return len(data) if isinstance(data, bytes | bytearray | memoryview) else 0
