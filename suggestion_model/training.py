"""Local training on one device: ClientUpdate of federated averaging (arXiv 1602.05629, algorithm 1).

A run is cut into calls of bounded length. Between two calls it can be stopped, and what was reached, a
:class:`Progress`, is enough to go on later as if nothing had happened: the order of the examples in each epoch follows
from the run's seed alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .head_trainer import HeadRows, HeadTrainer
from .runtime import Batch, Ranker
from .types import Example


@dataclass(frozen=True, slots=True)
class LocalSetting:
    """How a device trains."""

    epochs: int
    """E, passes over the examples, >= 1."""
    batch_size: int
    """B, examples a step, 1..the model file's batch; smaller batches are padded with weight 0."""
    learning_rate: float
    """> 0"""
    proximal: float = 0.0
    """mu >= 0 of FedProx (arXiv 1812.06127): each step also pulls towards the starting weights."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: all that is needed to go on with it on the same examples and setting."""

    seed: int
    """Of the order of the examples, 0..2^63 - 1."""
    steps: int
    """Steps done."""
    weights: NDArray[np.float32]
    """float32[d], as learned so far."""


@dataclass(frozen=True, slots=True)
class LocalUpdate:
    """What training made of the examples."""

    delta: NDArray[np.float32]
    """float32[d], new weights less the starting ones."""
    examples: int
    """n_k, examples trained on."""
    loss_before: float
    """Weighted mean cross-entropy over the examples, at the starting weights; 0 without examples."""
    loss_after: float
    steps: int
    stopped: bool
    """True when ``should_stop`` ended it early; the delta holds what was learned so far."""
    progress: Progress
    """To go on with a run that was stopped."""


class LocalRun:
    """One run over n >= 0 examples, as the head sees them; :meth:`advance` it until it is :attr:`done`.

    Args:
        head: does the steps.
        start: float32[d], the weights to start from, and to be pulled towards.
        rows: the examples.
        setting: epochs, batch, step size.
        progress: begin here; ``Progress(seed, 0, start)`` for a new run.
        steps_a_call: at most so many steps in one call; the file's own limit when None.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        head: HeadTrainer,
        start: NDArray[np.float32],
        rows: HeadRows,
        setting: LocalSetting,
        progress: Progress,
        steps_a_call: int | None = None,
    ) -> None:
        if not (1 <= setting.batch_size <= head.batch) or setting.epochs < 1 or setting.proximal < 0:
            raise ValueError(f"Local training needs a batch of 1..{head.batch}, at least one epoch and proximal >= 0.")
        self._head = head
        self._start = start
        self._rows = rows
        self._setting = setting
        self._seed = progress.seed
        self._weights = progress.weights
        self._steps = progress.steps
        self._order = whole_order(progress.seed, len(rows), setting)
        self._most = head.steps_a_call if steps_a_call is None else max(1, min(steps_a_call, head.steps_a_call))
        self._fits = len(rows) <= head.rows_a_call
        # FedProx (arXiv 1812.06127): a call does one step, w <- w + pull (start - w) comes after it.
        self._pull = np.float32(min(setting.learning_rate * setting.proximal, 1.0))
        if self._pull:
            self._most = 1
        if not self._fits:
            self._most = max(1, min(self._most, head.rows_a_call // setting.batch_size))

    @property
    def steps_in_all(self) -> int:
        """Steps of the whole run."""
        return len(self._order)

    @property
    def done(self) -> bool:
        """Whether every epoch is over."""
        return self._steps >= self.steps_in_all

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        return Progress(self._seed, self._steps, self._weights)

    def advance(self) -> None:
        """Make one call of the model file.

        Raises:
            RankerInputError: weights or examples do not fit the model file.
        """
        order, rows = self._order[self._steps : self._steps + self._most], self._rows
        if not len(order):
            return
        if not self._fits:
            # More examples than a call can hold: it gets those of its steps alone, in the order they come.
            there = order >= 0
            rows, order = rows.take(order[there]), np.where(there, np.cumsum(there).reshape(order.shape) - 1, -1)
        self._weights = self._head.train(self._weights, rows, order, self._setting.learning_rate)
        if self._pull:
            self._weights += self._pull * (self._start - self._weights)
        self._steps += len(order)


def whole_order(seed: int, examples: int, setting: LocalSetting) -> NDArray[np.int32]:
    """Which examples each step of a run takes, int32[epochs * ceil(examples / batch), batch]; -1 for none."""
    padded = -(-examples // setting.batch_size) * setting.batch_size
    order = np.full((setting.epochs, padded), -1, np.int32)
    order[:, :examples] = _draws.keyed(seed).random((setting.epochs, examples)).argsort(axis=1)
    return order.reshape(-1, setting.batch_size)


class _Draws(threading.local):
    """One counter-based generator a thread (Philox, Salmon et al. 2011), keyed anew for each run.

    Making a generator takes as long as a training step does; giving it a key does not.
    """

    def __init__(self) -> None:
        self._bits = np.random.Philox(0)
        self._generator = np.random.Generator(self._bits)
        self._start = self._bits.state

    def keyed(self, seed: int) -> np.random.Generator:
        """The generator at the beginning of the stream that ``seed``, 0..2^63 - 1, names."""
        self._start["state"]["key"][:] = seed, 0
        self._bits.state = self._start
        return self._generator


_draws = _Draws()


def train_locally(
    ranker: Ranker,
    weights: NDArray[np.float32],
    examples: Sequence[Example],
    setting: LocalSetting,
    rng: np.random.Generator,
    should_stop: Callable[[], bool] = lambda: False,
) -> LocalUpdate:
    """Train from ``weights`` on ``examples`` in random order; the gradient is computed inside the model file.

    Args:
        ranker: does the steps; its own weights are not touched.
        weights: float32[d], where to start.
        examples: any number; none gives a zero update.
        setting: epochs, batch, step size.
        rng: shuffles.
        should_stop: asked between calls, which last a few milliseconds (conditions changed, the person said stop).

    Raises:
        RankerInputError: weights or examples do not fit the model file.
        ValueError: a setting is out of range.
    """
    progress = Progress(int(rng.integers(2**63)), 0, weights)
    return train_rows(ranker.head, weights, ranker.head_rows(examples), setting, progress, should_stop)


def train_rows(
    head: HeadTrainer,
    weights: NDArray[np.float32],
    rows: HeadRows,
    setting: LocalSetting,
    progress: Progress,
    should_stop: Callable[[], bool] = lambda: False,
    between_calls: Callable[[LocalRun], None] = lambda run: None,
    steps_a_call: int | None = None,
) -> LocalUpdate:
    """Train on examples as the head sees them; :func:`train_locally` with every choice open.

    Args:
        head: does the steps.
        weights: float32[d], the weights to start from.
        rows: the examples.
        setting: epochs, batch, step size.
        progress: begin here; ``Progress(seed, 0, weights)`` for a new run.
        should_stop: asked before each call.
        between_calls: hears of the run before each call; may sleep to keep a device responsive.
        steps_a_call: bounds what a stop has to wait for; the file's own limit when None.

    Raises:
        RankerInputError: weights or examples do not fit the model file.
        ValueError: a setting is out of range.
    """
    run = LocalRun(head, weights, rows, setting, progress, steps_a_call)
    stopped = False
    while not run.done and not stopped:
        between_calls(run)
        stopped = should_stop()
        if not stopped:
            run.advance()
    reached = run.progress
    before = head.mean_loss(weights, rows)
    return LocalUpdate(
        delta=reached.weights - weights,
        examples=len(rows),
        loss_before=before,
        loss_after=head.mean_loss(reached.weights, rows) if reached.steps else before,
        steps=reached.steps,
        stopped=stopped,
        progress=reached,
    )


def make_batch(examples: Sequence[Example], size: int) -> Batch:
    """Stack at most ``size`` examples into a batch of exactly ``size`` rows, padded with weight 0."""
    if not examples or len(examples) > size:
        raise ValueError(f"{len(examples)} examples do not make a batch of {size}.")
    rows = [*examples, *[examples[0]] * (size - len(examples))]
    label = np.array([e.label for e in rows], np.float32)
    weight = np.zeros(size, np.float32)
    weight[: len(examples)] = [e.weight for e in examples]
    return Batch(
        np.stack([e.context_ids for e in rows]),
        np.stack([e.candidate_ids for e in rows]),
        np.stack([e.dense for e in rows]),
        label,
        weight,
    )
