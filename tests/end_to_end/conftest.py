"""What end-to-end tests share: a proxy that writes down everything that travels."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest


class RecordingProxy:
    """A TCP proxy on a free port: passes bytes on, in both directions, and keeps them."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target: tuple[str, int] = ("", 0)
        self._lock = threading.Lock()
        self._streams: list[bytearray] = []
        self._sockets: list[socket.socket] = []

    def __call__(self, coordinator_url: str) -> str:
        """Start passing on to this address; returns the address to use instead."""
        parts = urlsplit(coordinator_url)
        self._target = (parts.hostname or "", parts.port or 80)
        threading.Thread(target=self._accept, daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def captured(self) -> bytes:
        """All bytes of all connections, each direction of a connection in one piece."""
        with self._lock:
            return b"\n--\n".join(bytes(stream) for stream in self._streams)

    def close(self) -> None:
        """End all connections."""
        with contextlib.suppress(OSError):
            self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._listener.accept()
                coordinator = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._sockets += [device, coordinator]
                up, down = bytearray(), bytearray()
                self._streams += [up, down]
            for source, target, kept in ((device, coordinator, up), (coordinator, device, down)):
                threading.Thread(target=self._pass_on, args=(source, target, kept), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                with self._lock:
                    kept += piece
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="session")
def make_proxy() -> Iterator[Callable[[], RecordingProxy]]:
    """Makes recording proxies; they are closed at the end."""
    made: list[RecordingProxy] = []

    def make() -> RecordingProxy:
        made.append(RecordingProxy())
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()
