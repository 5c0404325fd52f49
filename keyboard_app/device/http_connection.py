"""One HTTP/1.1 connection that stays open between requests, counts its bytes and can be cut from another thread.

The standard library's client does the talking; no redirect is followed, nothing is decompressed, and no answer is read
beyond what is allowed. Certificates of https servers are verified against those the system trusts.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - what looking up a host's name loads at its first call
import socket
import ssl
import threading
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

CONNECT_S = 10.0
"""Longest wait for a connection."""
_PIECE_BYTES = 65536


class TooSlow(OSError):  # noqa: N818 - says what it is
    """No answer within the time."""


class ConnectionCut(OSError):  # noqa: N818 - says what it is
    """It ended in the middle of a request, or had ended before it."""


class AnswerTooLong(Exception):  # noqa: N818 - says what it is
    """More bytes than allowed."""


class HttpConnection:
    """To the server of ``base_url``. One thread makes requests; any may end them.

    Args:
        base_url: an http(s) address, which may hold a path prefix.
        connect_s: longest wait for a connection.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, base_url: str, connect_s: float = CONNECT_S) -> None:
        try:
            url = urlsplit(base_url)
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        if not host or url.scheme not in ("http", "https"):
            raise ValueError(f"{base_url!r} is not an address like http://host:port")
        self._prefix = quote(url.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        self._connection: _CountedHttp
        if url.scheme == "https":
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._connection = _CountedHttps(host, port, timeout=min(connect_s, CONNECT_S), context=context)
        else:
            self._connection = _CountedHttp(host, port, timeout=min(connect_s, CONNECT_S))
        self._lock = threading.Lock()
        self._interrupted = False
        self._cut_short = False
        self.down = 0
        """Bytes received: status lines, headers, bodies."""

    @property
    def up(self) -> int:
        """Bytes sent: request lines, headers, bodies."""
        return self._connection.up

    @property
    def interrupted(self) -> bool:
        """Whether no request is to be made any more."""
        return self._interrupted

    @property
    def ended_by_us(self) -> bool:
        """Whether a connection that broke was ended from this side, so that its request is not to be repeated."""
        return self._interrupted or self._cut_short

    def begin(self) -> None:
        """A request is about to be made: what was cut short before does not concern it."""
        with self._lock:
            self._cut_short = False

    def exchange(self, method: str, path: str, body: bytes | None, largest: int, timeout_s: float) -> tuple[int, bytes]:
        """One request and its whole answer, at most ``largest`` bytes of it.

        Args:
            timeout_s: longest wait between two pieces of the answer.

        Returns:
            The status and the body.

        Raises:
            ConnectionCut: it may be tried again, on a new connection.
            TooSlow: no answer in time.
            AnswerTooLong: longer than allowed.
            OSError: no connection.
        """
        connection = self._connection
        if connection.sock is None:
            self._connect()
        try:
            connection.sock.settimeout(timeout_s)
            # Every header is paid for in each of a round's dozen requests.
            connection.putrequest(method, self._prefix + path, skip_accept_encoding=True)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.send_with(body or b"")
            answer = connection.getresponse()
            self.down += _head_size(answer)
            return answer.status, self._read(answer, largest)
        except TimeoutError:
            connection.close()
            raise TooSlow from None
        except (HTTPException, OSError):
            connection.close()
            raise ConnectionCut from None
        except BaseException:
            connection.close()
            raise

    def interrupt(self) -> None:
        """End a request in flight now, and allow no other until :meth:`resume`."""
        with self._lock:
            self._interrupted = True
        self.cut_short()

    def cut_short(self) -> None:
        """End a request in flight now; the next one goes through."""
        with self._lock:
            self._cut_short = True
            sock = self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def resume(self) -> None:
        """Allow requests again after :meth:`interrupt`."""
        with self._lock:
            self._interrupted = False

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        self._connection.close()

    def _connect(self) -> None:
        try:
            self._connection.connect()
        except BaseException:
            self._connection.close()  # of half an https connection something is left
            raise
        with self._lock:
            interrupted = self._interrupted
        if interrupted:  # just before there was something to cut
            self._connection.close()
            raise ConnectionCut

    def _read(self, answer: HTTPResponse, largest: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := answer.read(_PIECE_BYTES):
            size += len(piece)
            self.down += len(piece)
            if size > largest:
                raise AnswerTooLong
            pieces.append(piece)
        if answer.length:
            raise ConnectionCut
        return b"".join(pieces)


class _CountedHttp(HTTPConnection):
    up = 0
    _body = b""

    def send_with(self, body: bytes) -> None:
        """Send the head, which is complete now, and the body in one piece: it wakes the server once, not twice."""
        self._body = body
        self.endheaders()

    def send(self, data: Any) -> None:
        """Called by :meth:`endheaders`, with the head."""
        whole = data + self._body
        self.up += len(whole)
        super().send(whole)


class _CountedHttps(_CountedHttp, HTTPSConnection):
    """The same over TLS."""


def _head_size(answer: HTTPResponse) -> int:
    """Bytes of the status line and headers, as they stood on the wire."""
    status_line = len(f"HTTP/1.1 {answer.status} {answer.reason}\r\n")
    return status_line + sum(len(name) + len(value) + 4 for name, value in answer.headers.items()) + 2
