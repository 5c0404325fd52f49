"""Gradient descent on the device's own log: bounded in time, stopped within milliseconds, resumed where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from keyboard_app.device.pace import Pace
from keyboard_app.device.unfinished_training import Material, UnfinishedTraining
from keyboard_app.device.workbench import TrainingStoppedError, Workbench

if TYPE_CHECKING:
    from data_logging.records import LoggedImpression
    from keyboard_app.device.model_store import StoredModel
    from suggestion_model.head_trainer import HeadRows
    from suggestion_model.training import LocalRun, LocalSetting, LocalUpdate


@dataclass(frozen=True, slots=True)
class Trained:
    """What a device has learned for a round."""

    delta: NDArray[np.floating]
    """[d], what is summed: local minus global weights, or a gradient; zeros without examples."""
    examples: int
    """n_k, the examples it was learned from."""
    loss_before: float = 0.0
    loss_after: float = 0.0
    features: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Counters by feature, where they are asked for."""

    @classmethod
    def nothing(cls, dimension: int, counters: int = 0) -> Trained:
        """Of a device without examples, or in a round that learns nothing."""
        return cls(np.zeros(dimension, np.float32), 0, features=np.zeros(counters, np.int64))


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far the training that runs at this moment is."""

    step: int
    """Steps done, 0..steps."""
    steps: int
    examples: int


class LocalTrainer:
    """Trains models on the offers of one device.

    Args:
        bench: gives the offers and the model file.
        unfinished: where a stopped training is kept.
        pace: bounds the share of time it takes.
        rng: order of the examples (not a secret).
    """

    def __init__(
        self,
        bench: Workbench,
        unfinished: UnfinishedTraining | None = None,
        pace: Pace | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._bench = bench
        self._unfinished = unfinished or UnfinishedTraining(None)
        self.pace = pace or Pace()
        """Shared with whatever else works on the log."""
        self._rng = rng if rng is not None else np.random.default_rng()
        self.progress: TrainingProgress | None = None
        """How far training is, None while none runs; may be read from any thread."""
        self.steps_a_call: int | None = None
        """Bounds what a stop waits for; the model file's own limit, a few milliseconds, when None."""

    def train(
        self,
        model: StoredModel,
        offers: list[LoggedImpression],
        setting: LocalSetting,
        should_stop: Callable[[], bool],
    ) -> tuple[LocalUpdate, HeadRows]:
        """Train ``model`` on ``offers``; goes on where an equal training was stopped.

        Args:
            model: where to start.
            offers: from :meth:`Workbench.newest`, at least one.
            setting: epochs, batch, step size.
            should_stop: asked every few milliseconds; True cancels.

        Returns:
            the update, and the offers as the head saw them.

        Raises:
            TrainingStoppedError: it was cancelled; what was reached is kept for the next time.
            RankerInputError: the model does not fit the model file.
        """
        self.pace.begin()
        rows = self._bench.head_rows(offers, should_stop, self.pace.rest)
        return self.train_rows(model, rows, offers[-1].id, setting, should_stop), rows

    def train_rows(
        self,
        model: StoredModel,
        rows: HeadRows,
        newest: int,
        setting: LocalSetting,
        should_stop: Callable[[], bool],
    ) -> LocalUpdate:
        """As :meth:`train`, on offers as the head sees them, the newest of which has the id ``newest``."""
        from suggestion_model.training import Progress, train_rows

        material = Material.of(model.version, model.digest, newest, len(rows), setting)
        begin = self._unfinished.find(material)
        if begin is None or begin.weights.shape != model.weights.shape:
            begin = Progress(int(self._rng.integers(2**63)), 0, model.weights)

        def between(run: LocalRun) -> None:
            self.progress = TrainingProgress(run.progress.steps, run.steps_in_all, len(rows))
            self.pace.rest()

        try:
            head = self._bench.ranker.head
            update = train_rows(head, model.weights, rows, setting, begin, should_stop, between, self.steps_a_call)
        finally:
            self.progress = None
        if update.stopped:
            self._unfinished.put(material, update.progress)
            raise TrainingStoppedError
        self._unfinished.clear()
        return update

    def forget(self) -> None:
        """Delete what a stopped training had reached.

        Raises:
            OSError: the file cannot be deleted.
        """
        self._unfinished.clear()
