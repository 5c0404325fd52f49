"""What operators read, as JSON under /admin, and a stream of the same for live pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
from flask import Blueprint, Response, request

from coordinator.errors import RequestRefusedError
from coordinator.reports import MetricsReport, Reports, RoundReport, StatusReport
from coordinator.service import Coordinator
from coordinator.task_reports import TaskReports
from federated_protocol.messages import RefusalReason

JSON = "application/json"
MOST_STREAMS = 8
"""Each stream holds a server thread; devices must find free ones."""
POLL_S = 0.5
HEARTBEAT_S = 15.0
STREAM_S = 600.0
"""A stream ends after this time and the browser opens a new one."""


class LivePage(msgspec.Struct, frozen=True):
    """Everything the dashboard shows."""

    status: StatusReport
    rounds: tuple[RoundReport, ...]
    metrics: MetricsReport


class EventStreams:
    """Server-sent events: the page's data whenever it changed."""

    def __init__(self, coordinator: Coordinator, reports: Reports) -> None:
        self._coordinator = coordinator
        self._reports = reports
        self._places = threading.BoundedSemaphore(MOST_STREAMS)

    def page(self) -> LivePage:
        """The data now."""
        return LivePage(
            self._reports.status(self._coordinator.clock()),
            self._reports.rounds(60, every_task=True),
            self._reports.metrics(),
        )

    def open(self) -> Response:
        """Start a stream; refused as unavailable when too many are open."""
        if not self._places.acquire(blocking=False):
            raise RequestRefusedError(
                RefusalReason.UNAVAILABLE, "too many live pages are open: close one, or reload later"
            )
        response = Response(self._events(), content_type="text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.call_on_close(self._places.release)
        return response

    def _events(self) -> Iterator[bytes]:
        stopping = self._coordinator.stopping
        shown = b""
        quiet_s = 0.0
        age_s = 0.0
        while age_s < STREAM_S and not stopping.is_set():
            page = self.page()
            unchanged_by_time = msgspec.json.encode(
                msgspec.structs.replace(page, status=msgspec.structs.replace(page.status, now=0.0))
            )
            if unchanged_by_time != shown:
                shown, quiet_s = unchanged_by_time, 0.0
                yield b"data: " + msgspec.json.encode(page) + b"\n\n"
            elif quiet_s >= HEARTBEAT_S:
                quiet_s = 0.0
                yield b": still here\n\n"
            stopping.wait(POLL_S)
            quiet_s += POLL_S
            age_s += POLL_S


def admin_api(coordinator: Coordinator) -> Blueprint:
    """The blueprint of the reports."""
    api = Blueprint("admin_api", __name__, url_prefix="/admin")
    reports = Reports(coordinator.database, coordinator.settings)
    task_reports = TaskReports(coordinator.database, coordinator.settings)
    streams = EventStreams(coordinator, reports)

    @api.get("/status")
    def status() -> Response:
        return _json(reports.status(coordinator.clock()))

    @api.get("/rounds")
    def rounds() -> Response:
        return _json(reports.rounds(_limit()))

    @api.get("/models")
    def models() -> Response:
        return _json(reports.models())

    @api.get("/metrics")
    def metrics() -> Response:
        return _json(reports.metrics(_limit()))

    @api.get("/tasks")
    def tasks() -> Response:
        return _json(task_reports.tasks())

    @api.get("/privacy")
    def privacy() -> Response:
        return _json(task_reports.privacy())

    @api.get("/evaluations")
    def evaluations() -> Response:
        return _json(reports.evaluations())

    @api.get("/page")
    def page() -> Response:
        return _json(streams.page())

    @api.get("/events")
    def events() -> Response:
        return streams.open()

    return api


def _limit() -> int:
    text = request.args.get("limit", "100")
    if not (text.isdecimal() and len(text) < 5 and 1 <= int(text) <= 1000):
        raise RequestRefusedError(RefusalReason.MALFORMED, "limit must be a number between 1 and 1000")
    return int(text)


def _json(report: object) -> Response:
    response = Response(msgspec.json.encode(report), content_type=JSON)
    response.headers["Cache-Control"] = "no-store"
    return response
