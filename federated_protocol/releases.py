"""Names that devices and coordinator share for releases by The Update Framework.

The coordinator serves the framework's metadata under ``/v1/releases/`` by the file names of its specification
(``timestamp.json``, ``3.rounds.json``). Round models are targets of the delegated role ``rounds``; their bytes are
those of ``GET /v1/models/{version}``.
"""

from __future__ import annotations

RELEASES_PATH = "/v1/releases"


def model_target_path(version: int) -> str:
    """The target path of a round model."""
    return f"rounds/{version}.model"
