"""Serve a WSGI application with gunicorn from inside a command: one worker process, many threads, a clean stop."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from coordinator.errors import SettingsError

if TYPE_CHECKING:
    from flask import Flask

THREADS = 192
"""Made as they are needed. Waiting requests and streams hold most of them, see :mod:`coordinator.rounds.waiting`."""
GRACE_S = 5


CONNECTIONS = 4096
"""Open at a time in one process; devices keep theirs for the length of a round."""
READ_S = 20.0
"""A request, body and all, has to arrive within this time; a phone on a bad line sends 100 kB in it."""


@dataclass(frozen=True, slots=True)
class ServedApp:
    """An application and what to do around it, made inside the worker process."""

    app: Flask
    start: Callable[[], None] = lambda: None
    """Called when the worker is about to take requests."""
    stop: Callable[[], None] = lambda: None
    """Called once when the process was asked to end, before running requests are waited for."""
    close: Callable[[], None] = lambda: None
    """Called after the last request."""


def serve(
    make: Callable[[], ServedApp], *, host: str, port: int, port_file: Path | None = None, threads: int = THREADS
) -> None:
    """Serve until SIGTERM or SIGINT; does not return (the process exits with gunicorn's status).

    Prints one line ``listening on http://host:port`` when requests are answered. Port 0 takes a free port, which is in
    that line and, as a number, in ``port_file``.

    Raises
    ------
    SettingsError
        when nothing can listen at that address.
    """
    _check_address(host, port)
    _allow_connections()
    _Server(make, host, port, port_file, threads).run()


def _check_address(host: str, port: int) -> None:
    """Say in one line what gunicorn would say in twelve, after five attempts."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} cannot be listened at ({error.strerror}): give another --host or --port, or end what has it"
        ) from None


class ImpatientWorker(ThreadWorker):  # type: ignore[misc] # its base is untyped
    """gthread, but nobody holds one of its threads by sending a request drop by drop.

    After :data:`READ_S` nothing more is read from the connection: a request that had not arrived by then fails, an
    answer that is still being waited for or streamed does not, and its connection serves the next request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading: dict[TConn, float] = {}
        self._requests: dict[TConn, Any] = {}
        self._watch = threading.Thread(target=self._end_late_reads, name="late-reads", daemon=True)

    def run(self) -> None:
        """Serve until told to stop."""
        self._watch.start()
        super().run()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take connections, or none; one that is told to end closes its door, so that nobody waits in front of it."""
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()

    def handle(self, conn: TConn) -> Any:
        """Answer one request; a connection that was cut carries no other."""
        self._reading[conn] = time.monotonic() + READ_S
        try:
            kept = super().handle(conn)
            return kept if conn in self._reading else False
        finally:
            self._reading.pop(conn, None)
            self._requests.pop(conn, None)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request whose head has arrived."""
        self._requests[conn] = req
        return super().handle_request(req, conn)

    def _end_late_reads(self) -> None:
        while True:
            time.sleep(min(1.0, READ_S / 4))
            now = time.monotonic()
            for conn, until in list(self._reading.items()):
                if now >= until and not self._has_arrived(conn):
                    self._reading.pop(conn, None)
                    with contextlib.suppress(OSError):  # it is closed already
                        conn.sock.shutdown(socket.SHUT_RD)

    def _has_arrived(self, conn: TConn) -> bool:
        """Whether the body was read to its stated end; a chunked one is not known to end."""
        request = self._requests.get(conn)
        return request is not None and getattr(request.body.reader, "length", 1) == 0


def _allow_connections() -> None:
    """Each is an open file, of which a process may have 1,024 unless it asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(BaseApplication):  # type: ignore[misc] # its base is untyped
    def __init__(
        self, make: Callable[[], ServedApp], host: str, port: int, port_file: Path | None, threads: int
    ) -> None:
        self._make = make
        self._host = host
        self._bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._port_file = port_file
        self._threads = threads
        self._served: ServedApp | None = None
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": self._bind,
            "worker_class": ImpatientWorker,
            "workers": 1,
            "threads": self._threads,
            "worker_connections": CONNECTIONS,
            "backlog": 1024,
            "keepalive": 30,
            "timeout": 120,
            "graceful_timeout": GRACE_S,
            "accesslog": None,
            "loglevel": "error",
            "control_socket_disable": True,
            "post_worker_init": self._ready,
            "worker_exit": self._exit,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:  # older gunicorn has no control socket to disable
                self.cfg.set(name, value)

    def load(self) -> Flask:
        self._served = self._make()
        return self._served.app

    def _ready(self, worker: Any) -> None:
        assert self._served is not None
        served = self._served
        previous = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            served.stop()
            if callable(previous):
                previous(number, frame)

        signal.signal(signal.SIGTERM, stop)
        served.start()
        gc.freeze()  # what the program itself consists of stays: there is no need to look through it again and again
        port = worker.sockets[0].getsockname()[1]
        if self._port_file is not None:
            part = self._port_file.with_name(self._port_file.name + ".part")
            part.write_text(f"{port}\n", "utf-8")
            os.replace(part, self._port_file)
        host = f"[{self._host}]" if ":" in self._host else self._host
        print(f"listening on http://{host}:{port}", flush=True)

    def _exit(self, _arbiter: Any, _worker: Any) -> None:
        if self._served is not None:
            self._served.close()
