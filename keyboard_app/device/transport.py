"""The device's side of the HTTP API: MessagePack bodies, one connection kept open, every failure one of three.

Answers are bounded in size and time, redirects are not followed, and both directions are counted (headers and
bodies) so that a person can see what a round cost. Every request can be repeated safely, therefore a connection that
the other side had closed meanwhile is opened again once without further ado.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from keyboard_app.device.http_connection import AnswerTooLong, ConnectionCut, HttpConnection, TooSlow

LONGEST_WAIT_S = 30
"""Coordinators hold an answer no longer than that, however long they are asked to."""

for _kind in (CheckInAnswer, SessionAnswer):
    wire.prepare(_kind)  # not while a coordinator waits for what follows its first answer

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
        self._connection = HttpConnection(base_url, connect_s=timeout_s)
        self._timeout_s = timeout_s
        self._wait_s = wait_s
        self._largest_answer = largest_answer
        self._largest_model = largest_model

    @property
    def traffic(self) -> Traffic:
        """Bytes so far."""
        return Traffic(self._connection.up, self._connection.down)

    @property
    def waits(self) -> bool:
        """Whether the coordinator is asked to hold its answers until there is one: then nothing is asked too early."""
        return self._wait_s > 0

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
        self._connection.interrupt()

    def cut_short(self) -> None:
        """End a request in flight now, from another thread: something changed, and its answer may be long in coming.

        It raises CoordinatorUnreachable; the next one goes through.
        """
        self._connection.cut_short()

    def resume(self) -> None:
        """Allow requests again after :meth:`interrupt`."""
        self._connection.resume()

    def close(self) -> None:
        """Close the connection; the next request would open a new one."""
        self._connection.close()

    def _query(self, device: bytes) -> str:
        return f"?device={device.hex()}" + (f"&wait={self._wait_s}" if self._wait_s else "")

    def _session_answer(
        self, method: str, session: str, what: str, query: str, body: bytes | None = None
    ) -> SessionAnswer:
        path = f"/v1/sessions/{_segment(session)}/{what}{query}"
        raw = self._request(method, path, body, self._largest_answer, self._wait_s)
        answer: SessionAnswer = self._decode(raw, SessionAnswer)
        if not isinstance(answer, _LEGAL[what]):
            raise BadAnswer(f"a {type(answer).__name__} is no answer to {what}")
        return answer

    def _decode(self, raw: bytes, kind: Any) -> Any:
        try:
            return wire.decode(raw, kind, limit_bytes=self._largest_answer)
        except MalformedMessage as problem:
            raise BadAnswer(f"the coordinator's answer makes no sense: {problem}") from None

    def _request(self, method: str, path: str, body: bytes | None, largest: int, wait_s: float = 0.0) -> bytes:
        status, raw = self._exchange(method, path, body, largest, self._timeout_s + wait_s)
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

    def _exchange(
        self, method: str, path: str, body: bytes | None, largest: int, timeout_s: float
    ) -> tuple[int, bytes]:
        connection = self._connection
        connection.begin()
        for attempt in (1, 2):
            if connection.interrupted:
                raise CoordinatorUnreachable("stopped")
            try:
                return connection.exchange(method, path, body, largest, timeout_s)
            except AnswerTooLong:
                raise BadAnswer(f"an answer of more than {largest} bytes") from None
            except TooSlow:
                raise CoordinatorUnreachable("the coordinator is too slow to answer") from None
            except ConnectionCut:
                # A kept-alive connection may have been closed by the other side between two requests.
                if attempt == 2 or connection.ended_by_us:
                    raise CoordinatorUnreachable("the connection was cut") from None
            except OSError as problem:
                raise CoordinatorUnreachable(f"no connection to the coordinator ({type(problem).__name__})") from None
        raise AssertionError("unreachable")


def _segment(session: str) -> str:
    """The session id as a path segment; it came from the coordinator, so it is checked before it is used."""
    if not (0 < len(session) <= 128 and all(c.isascii() and (c.isalnum() or c in "-_.") for c in session)):
        raise BadAnswer("the session's name is not a plain word")
    return session
