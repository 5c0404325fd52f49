"""Version 0: the bundle that ships with the package, as a model artifact."""

from __future__ import annotations

import numpy as np

from federated_protocol.messages import ModelArtifact
from suggestion_model.types import Head


def shipped_artifact(head: Head = Head.RANKER) -> ModelArtifact:
    """Weights and threshold of a head of the shipped bundle as version 0; both heads start with the same logit.

    Imports no LiteRT and no TensorFlow. Raises ``suggestion_model.bundle.BundleError`` when the bundle is damaged.
    """
    from suggestion_model.bundle import Bundle  # only needed when a database is begun or checked

    bundle = Bundle.shipped()
    shape, weights = bundle.start(head)
    return ModelArtifact(
        version=0,
        parent=0,
        bundle_digest=shape.digest,
        weights=np.ascontiguousarray(weights, dtype="<f4").tobytes(),
        threshold=float(bundle.threshold0),
    )
