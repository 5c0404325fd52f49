"""What the demo reads from a coordinator over HTTP: its reports under /admin, and models."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np
import urllib3

from federated_protocol import wire
from federated_protocol.errors import FederatedProtocolError
from federated_protocol.messages import ModelArtifact
from keyboard_app.simulation.evaluation import ModelUnderTest
from suggestion_model.bundle import Bundle

LARGEST_REPORT_BYTES = 4 * 1024 * 1024
LARGEST_MODEL_BYTES = 64 * 1024 * 1024


T = TypeVar("T")


class ReportError(RuntimeError):
    """The coordinator does not answer, or with something else than a report."""


class RoundRow(msgspec.Struct, frozen=True):
    """One round, as far as the demo shows it; further fields of the report are passed over."""

    round: int
    attempt: int
    state: str
    base_version: int
    summed: str | None = None
    reason: str | None = None
    published_version: int | None = None
    selected: int | None = None
    inputs: int | None = None
    dropouts: dict[str, int] = {}
    bytes_up_per_device: int | None = None
    duration_s: float | None = None

    @property
    def dropped(self) -> int:
        """Devices that missed any phase."""
        return sum(self.dropouts.values())


class PhaseRow(msgspec.Struct, frozen=True):
    """One step of the running round."""

    name: str
    status: str
    answered: int
    expected: int


class RunningRound(msgspec.Struct, frozen=True):
    """The round under way."""

    round: int
    attempt: int
    state: str
    phases: tuple[PhaseRow, ...] = ()


class ModelRow(msgspec.Struct, frozen=True):
    """A model version."""

    version: int
    threshold: float


class StatusRow(msgspec.Struct, frozen=True):
    """Where the coordinator stands."""

    model: ModelRow
    versions_made: int
    abandoned_rounds: int
    running: RunningRound | None = None


class UsageRow(msgspec.Struct, frozen=True):
    """What secure sums say about one arm and version."""

    arm: str
    version: int
    lines: int
    offers: int
    clicks: int
    click_through_rate: float | None = None


class MetricsRow(msgspec.Struct, frozen=True):
    """Click-through by arm and version."""

    by_version: tuple[UsageRow, ...] = ()


class CoordinatorReports:
    """A reader of one coordinator's reports; for one thread."""

    def __init__(self, url: str, timeout_s: float = 5.0) -> None:
        self.url = url.rstrip("/")
        self._pool = urllib3.PoolManager(timeout=timeout_s, retries=False)

    def status(self) -> StatusRow:
        """Where the coordinator stands. Raises :class:`ReportError`, as all methods here."""
        return self._report("/admin/status", StatusRow)

    def rounds(self) -> list[RoundRow]:
        """All rounds, oldest first."""
        return self._report("/admin/rounds?limit=1000", list[RoundRow])[::-1]

    def metrics(self) -> MetricsRow:
        """Click-through by arm and version."""
        return self._report("/admin/metrics", MetricsRow)

    def model(self, version: int) -> ModelUnderTest:
        """A published model, ready to be scored."""
        raw = self._get(f"/v1/models/{version}", LARGEST_MODEL_BYTES)
        try:
            artifact: ModelArtifact = wire.decode(raw, ModelArtifact, limit_bytes=LARGEST_MODEL_BYTES)
        except FederatedProtocolError as error:
            raise ReportError(f"model {version} is not understood: {error}") from None
        weights = np.frombuffer(artifact.weights, "<f4").astype(np.float32)
        head = Bundle.shipped().head_of(artifact.bundle_digest)
        if head is None:
            raise ReportError(f"model {version} was trained on another release bundle")
        return ModelUnderTest(artifact.version, weights, artifact.threshold, head)

    def wait_until_ready(
        self, timeout_s: float, check: Callable[[], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Wait until the coordinator answers; ``check`` is called in between and may raise."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._get("/v1/health", LARGEST_REPORT_BYTES)
                return
            except ReportError:
                check()
                if time.monotonic() > deadline:
                    raise
                sleep(0.05)

    def _report(self, path: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._get(path, LARGEST_REPORT_BYTES), type=kind)
        except msgspec.MsgspecError as error:
            raise ReportError(f"the coordinator's report {path} is not understood: {error}") from None

    def _get(self, path: str, limit: int) -> bytes:
        try:
            answer = self._pool.request("GET", self.url + path, preload_content=False)
            raw: bytes = answer.read(limit + 1)
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ReportError(f"the coordinator at {self.url} does not answer ({type(error).__name__})") from None
        if answer.status != 200 or len(raw) > limit:
            raise ReportError(f"the coordinator answered {path.partition('?')[0]} with status {answer.status}")
        return raw
