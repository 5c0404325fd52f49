"""Serve a WSGI application with gunicorn from inside a command: one worker process, many threads, a clean stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped] # gunicorn ships no types

THREADS = 192
"""Made as they are needed. Waiting requests and streams hold most of them, see :mod:`coordinator.rounds.waiting`."""
GRACE_S = 5


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
    """
    _Server(make, host, port, port_file, threads).run()


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
            "worker_class": "gthread",
            "workers": 1,
            "threads": self._threads,
            "worker_connections": 1000,
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
