"""Federated training simulated on several processes: each holds its people's examples and trains through LiteRT.

A worker runs :class:`suggestion_model.training.LocalRun`, the loop a device runs, one thread, one interpreter. It adds
up weighted updates in float64 itself, so that one vector a worker and round crosses processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from keyboard_app.simulation.processes import die_with_parent
from suggestion_model.head_trainer import HeadRows, HeadTrainer
from suggestion_model.training import LocalRun, LocalSetting, Progress

MakePeople = Callable[[int, int], Sequence[HeadRows]]
"""Makes the people of shard ``part`` of ``parts``; an importable function, called in the worker."""


@dataclass(frozen=True, slots=True)
class Job:
    """One worker's share of a round."""

    weights: NDArray[np.float32]
    people: NDArray[np.int64]
    """Which of its people train."""
    seeds: NDArray[np.int64]
    """Of the order of each one's examples."""
    setting: LocalSetting
    steps_a_call: int | None


@dataclass(frozen=True, slots=True)
class Sum:
    """What a worker, or all of them, made of a round."""

    delta: NDArray[np.float64]
    """Sum of n_k times the update of each, float64[d]."""
    examples: int
    cpu_s: float
    """Processor time of the workers."""

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.delta + other.delta, self.examples + other.examples, self.cpu_s + other.cpu_s)


class Shard:
    """The people of one worker."""

    def __init__(self, head: bytes, people: Sequence[HeadRows]) -> None:
        self._trainer = HeadTrainer.load(head)
        self._people = people

    def train(self, job: Job) -> Sum:
        """Train everybody asked for from the same weights."""
        delta = np.zeros(self._trainer.dimension, np.float64)
        examples, begun = 0, time.process_time()
        for person, seed in zip(job.people.tolist(), job.seeds.tolist(), strict=True):
            rows = self._people[person]
            begin = Progress(seed, 0, job.weights)
            run = LocalRun(self._trainer, job.weights, rows, job.setting, begin, job.steps_a_call)
            while not run.done:
                run.advance()
            delta += len(rows) * (run.progress.weights - job.weights)
            examples += len(rows)
        return Sum(delta, examples, time.process_time() - begun)


class ShardedTraining:
    """Workers that stay; use as a context.

    Args:
        head: a file with the signatures of a head.
        make_people: called in each worker.
        processes: how many workers.
    """

    def __init__(self, head: bytes, make_people: MakePeople, processes: int) -> None:
        self.processes = processes
        self._stack = ExitStack()
        self._pipes: list[Connection] = []
        context = get_context("spawn")
        for part in range(processes):
            here, there = context.Pipe()
            worker = context.Process(target=_serve, args=(there, head, make_people, part, processes), daemon=True)
            worker.start()
            there.close()
            self._stack.callback(worker.join)
            self._stack.callback(here.close)
            self._pipes.append(here)
        self.people = [int(pipe.recv()) for pipe in self._pipes]
        """How many people each worker holds."""

    def __enter__(self) -> ShardedTraining:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def round(
        self,
        weights: NDArray[np.float32],
        cohort: int,
        setting: LocalSetting,
        rng: np.random.Generator,
        steps_a_call: int | None = None,
    ) -> Sum:
        """Draw a cohort, the same number of people from each worker, train it, and add up.

        Args:
            weights: float32[d], where everybody starts.
            cohort: people, at most all of them.
            setting: of every one's training.
            rng: draws people and orders.
            steps_a_call: at most so many steps a call of the model file; its own limit when None.
        """
        share = cohort // self.processes
        for pipe, people in zip(self._pipes, self.people, strict=True):
            chosen = rng.choice(people, share, replace=False)
            pipe.send(Job(weights, chosen, rng.integers(2**62, size=share), setting, steps_a_call))
        first, *others = [pipe.recv() for pipe in self._pipes]
        total: Sum = sum(others, start=first)
        return total


def _serve(pipe: Connection, head: bytes, make_people: MakePeople, part: int, parts: int) -> None:
    die_with_parent()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    people = make_people(part, parts)
    shard = Shard(head, people)
    pipe.send(len(people))
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(shard.train(job))
