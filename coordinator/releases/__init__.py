"""Model versions: v0 from the shipped bundle, each later one from a round, every one kept and served by number."""

from coordinator.releases.model_store import ModelStore, PublishedModel, artifact_bytes, artifact_digest
from coordinator.releases.shipped import shipped_artifact

__all__ = ["ModelStore", "PublishedModel", "artifact_bytes", "artifact_digest", "shipped_artifact"]
