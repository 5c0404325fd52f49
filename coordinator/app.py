"""The Flask application factory."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Executor

from flask import Flask

from coordinator.operation.telemetry import install_metrics
from coordinator.service import Coordinator
from coordinator.settings import Settings
from coordinator.web.access import guard_reports
from coordinator.web.admin_api import admin_api
from coordinator.web.dashboard import dashboard
from coordinator.web.device_api import device_api, install_error_answers
from coordinator.web.operator_api import operator_api
from federated_protocol.messages import ModelArtifact
from federated_protocol.wire import LARGEST_MESSAGE_BYTES


def create_app(
    settings: Settings,
    *,
    initial_model: ModelArtifact | None = None,
    clock: Callable[[], float] = time.time,
    executor: Executor | None = None,
    rng: random.Random | None = None,
) -> Flask:
    """Make the application over the database that the settings name.

    The returned app has its :class:`~coordinator.service.Coordinator` in ``app.extensions["coordinator"]``. It moves
    rounds on as requests come in; call ``start_ticking()`` on the coordinator for a thread that also keeps deadlines
    when nobody asks. Arguments and errors are those of :class:`~coordinator.service.Coordinator`.
    """
    coordinator = Coordinator(settings, initial_model=initial_model, clock=clock, executor=executor, rng=rng)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_MESSAGE_BYTES
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.extensions["coordinator"] = coordinator
    guard_reports(app, coordinator)
    app.register_blueprint(device_api(coordinator))
    app.register_blueprint(admin_api(coordinator))
    app.register_blueprint(operator_api(coordinator))
    app.register_blueprint(dashboard())
    install_metrics(app, coordinator)
    install_error_answers(app)
    return app
