"""Prometheus metrics: requests of this process, and the state of rounds and releases from the database.

Labels are names of the program (a route, a status, a phase, a reason), never anything a request carried. A scrape of
any process shows the same rounds; request counts are per process.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from coordinator.releases.rollout import rounds_paused
from coordinator.reports import Reports
from coordinator.service import Coordinator
from coordinator.storage.tables import models, rollouts, rounds

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class StateCollector(Collector):
    """What the database says, read at each scrape."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._reports = Reports(coordinator.database, coordinator.settings)

    def collect(self) -> Iterator[Metric]:
        """Rounds by end, the round under way, releases, check-ins."""
        coordinator = self._coordinator
        task = coordinator.settings.task
        with coordinator.database.reading() as connection:
            ended = connection.execute(
                select(rounds.c.state, func.coalesce(rounds.c.reason, ""), func.count(), func.sum(rounds.c.inputs))
                .where(rounds.c.task == task)
                .group_by(rounds.c.state, rounds.c.reason)
            ).all()
            newest = connection.scalar(select(func.max(models.c.version))) or 0
            withdrawn = connection.scalar(select(func.count()).where(rollouts.c.state == "withdrawn")) or 0
            paused = rounds_paused(connection)
        by_end = CounterMetricFamily("coordinator_rounds", "Rounds by state and reason.", labels=("state", "reason"))
        inputs = CounterMetricFamily("coordinator_masked_inputs", "Masked inputs in published rounds.")
        for state, reason, count, summed in ended:
            by_end.add_metric((state, reason), count)
            if state == "published":
                inputs.add_metric((), float(summed or 0))
        yield by_end
        yield inputs
        live = GaugeMetricFamily(
            "coordinator_round_devices", "Devices in the round under way.", labels=("phase", "what")
        )
        left = GaugeMetricFamily("coordinator_round_deadline_seconds", "Until the phase under way ends at the latest.")
        running = self._reports.status(coordinator.clock()).running
        if running is not None:
            for phase in running.phases:
                live.add_metric((phase.name, "answered"), phase.answered)
                live.add_metric((phase.name, "expected"), phase.expected)
            left.add_metric((), running.deadline - coordinator.clock())
        yield live
        yield left
        for name, text, value in (
            ("coordinator_model_version", "Newest model version.", newest),
            ("coordinator_models_withdrawn", "Versions taken back.", withdrawn),
            ("coordinator_rounds_paused", "1 while the kill switch is on.", int(paused)),
            ("coordinator_ticking", "1 while this process moves rounds on.", int(coordinator.ticking)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        yield CounterMetricFamily(
            "coordinator_check_ins", "Verified check-ins seen by this process.", value=coordinator.population.total
        )


def install_metrics(app: Flask, coordinator: Coordinator) -> None:
    """Count every request and serve ``/metrics``."""
    registry = CollectorRegistry()
    registry.register(StateCollector(coordinator))
    requests = Counter(
        "coordinator_requests", "Requests by call and status.", ("method", "route", "status"), registry=registry
    )
    seconds = Histogram(
        "coordinator_request_seconds", "Time to answer.", ("route",), registry=registry, buckets=_SECONDS
    )
    received = Counter("coordinator_request_bytes", "Bytes of request bodies.", ("route",), registry=registry)
    pages = Blueprint("metrics", __name__)

    @pages.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE)

    @app.before_request
    def begin() -> None:
        g.begun = time.perf_counter()

    # Looking a counter up by its labels costs more than counting; there are as many as routes and statuses.
    count_of, bytes_of = functools.cache(requests.labels), functools.cache(received.labels)
    time_of = functools.cache(seconds.labels)

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else "unknown"
        method = request.method if request.method in ("GET", "POST", "HEAD") else "other"
        count_of(method, route, str(response.status_code)).inc()
        if size_bytes := request.content_length:
            bytes_of(route).inc(size_bytes)
        begun: Any = g.get("begun")
        if begun is not None and response.mimetype != "text/event-stream":
            time_of(route).observe(time.perf_counter() - begun)
        return response

    app.register_blueprint(pages)
