"""A coordinator in a process of its own, served as ``coordinator serve`` does, with a model of any size.

``python -m benchmarks._coordinator_process SETTINGS.json DIMENSION``: settings as JSON; prints ``listening on ...``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np

from federated_protocol.messages import ModelArtifact

BUNDLE_DIGEST = "b" * 64


def initial_model(dimension: int) -> ModelArtifact:
    """Version 0 with ``dimension`` zeros."""
    weights = np.zeros(dimension, "<f4").tobytes()
    return ModelArtifact(version=0, parent=0, bundle_digest=BUNDLE_DIGEST, weights=weights, threshold=0.0)


def main() -> None:
    """Serve until SIGTERM."""
    # Imported here, as the worker processes that open sums import this module and need none of it.
    from coordinator.aggregation.mask_workers import make_executor
    from coordinator.app import create_app
    from coordinator.events import configure_logging
    from coordinator.serving import ServedApp, serve
    from coordinator.settings import Settings

    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    dimension = int(sys.argv[2])

    def make() -> ServedApp:
        configure_logging(40)
        executor = make_executor(settings.unmasking)
        app = create_app(settings, initial_model=initial_model(dimension), executor=executor)
        coordinator = app.extensions["coordinator"]
        return ServedApp(app, start=coordinator.start_ticking, stop=coordinator.stop, close=coordinator.close)

    serve(make, host="127.0.0.1", port=0, port_file=None)


if __name__ == "__main__":
    main()
