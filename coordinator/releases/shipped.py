"""Version 0: the bundle that ships with the package, as a model artifact."""

from __future__ import annotations

import numpy as np

from federated_protocol.messages import ModelArtifact


def shipped_artifact() -> ModelArtifact:
    """Weights and threshold of the shipped bundle as version 0.

    Imports no LiteRT and no TensorFlow. Raises ``suggestion_model.bundle.BundleError`` when the bundle is damaged.
    """
    from suggestion_model.bundle import Bundle  # only needed when a database is begun or checked

    bundle = Bundle.shipped()
    return ModelArtifact(
        version=0,
        parent=0,
        bundle_digest=bundle.digest,
        weights=np.ascontiguousarray(bundle.weights0, dtype="<f4").tobytes(),
        threshold=float(bundle.threshold0),
    )
