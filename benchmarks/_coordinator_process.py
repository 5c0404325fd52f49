"""A coordinator in a process of its own, served as ``coordinator serve`` does, with a model of any size.

``python -m benchmarks._coordinator_process SETTINGS.json DIMENSION``: settings as JSON; prints ``listening on ...``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.serving import ServedApp
    from federated_protocol.messages import ModelArtifact

BUNDLE_DIGEST = "b" * 64


def initial_model(dimension: int) -> ModelArtifact:
    """Version 0 with ``dimension`` zeros."""
    import numpy as np

    from federated_protocol.messages import ModelArtifact

    weights = np.zeros(dimension, "<f4").tobytes()
    return ModelArtifact(version=0, parent=0, bundle_digest=BUNDLE_DIGEST, weights=weights, threshold=0.0)


def main() -> None:
    """Serve until SIGTERM."""
    from coordinator.serving import serve

    serve(_make, host="127.0.0.1", port=0, port_file=None)


def _make() -> ServedApp:
    """The application, made inside the worker: the process that watches over it imports none of this."""
    import msgspec

    from coordinator.aggregation.mask_workers import make_executor
    from coordinator.app import create_app
    from coordinator.events import configure_logging
    from coordinator.serving import ServedApp
    from coordinator.settings import Settings

    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    configure_logging(40)
    executor = make_executor(settings.unmasking)
    app = create_app(settings, initial_model=initial_model(int(sys.argv[2])), executor=executor)
    coordinator = app.extensions["coordinator"]
    return ServedApp(app, start=coordinator.start_ticking, stop=coordinator.stop, close=coordinator.close)


if __name__ == "__main__":
    main()
