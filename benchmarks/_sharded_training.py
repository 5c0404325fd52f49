"""Federated training simulated on several workers: each holds its people's examples and trains through LiteRT.

A worker runs :class:`suggestion_model.training.LocalRun`, the loop a device runs, one thread, one interpreter. It adds
up weighted updates in float64 itself, so that one vector a worker and round crosses processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from benchmarks._workers import Workers
from suggestion_model.head_trainer import HeadRows, HeadTrainer
from suggestion_model.training import LocalRun, LocalSetting, Progress

MakePeople = Callable[..., Sequence[HeadRows]]
"""Makes, from its arguments, ``part`` and ``parts``, the people of one shard; a function of a module, called there."""


@dataclass(frozen=True, slots=True)
class Population:
    """What shards are made from, the same wherever they are made."""

    head: bytes
    """A file with the signatures of a head."""
    make_people: MakePeople
    arguments: tuple[Hashable, ...]
    parts: int


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
    """The people of one part."""

    def __init__(self, head: bytes, people: Sequence[HeadRows]) -> None:
        self._trainer = HeadTrainer.load(head)
        self._people = people

    def __len__(self) -> int:
        return len(self._people)

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
    """Parts of a population at workers that stay; use as a context.

    Args:
        head: a file with the signatures of a head.
        make_people: called where a part is worked on, with ``arguments``, the part's number and how many there are.
        arguments: hashable.
        workers: as many parts as they count.

    Raises:
        BenchmarkError: the cluster cannot be used.
    """

    def __init__(self, head: bytes, make_people: MakePeople, arguments: tuple[Hashable, ...], workers: Workers) -> None:
        self._population = Population(head, make_people, arguments, workers.count)
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._posts = stack.enter_context(workers.posts())
            counts = [post(_count, self._population, part) for part, post in enumerate(self._posts)]
            self.people = [count.result() for count in counts]
            """How many people each part has."""
            self._stack = stack.pop_all()

    def __enter__(self) -> ShardedTraining:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, problem, trace)

    def round(
        self,
        weights: NDArray[np.float32],
        cohort: int,
        setting: LocalSetting,
        rng: np.random.Generator,
        steps_a_call: int | None = None,
    ) -> Sum:
        """Draw a cohort, the same number of people from each part, train it, and add up.

        Args:
            weights: float32[d], where everybody starts.
            cohort: people, at most all of them.
            setting: of every one's training.
            rng: draws people and orders.
            steps_a_call: at most so many steps a call of the model file; its own limit when None.
        """
        share = cohort // len(self._posts)
        sums = []
        for part, (post, people) in enumerate(zip(self._posts, self.people, strict=True)):
            chosen = rng.choice(people, share, replace=False)
            job = Job(weights, chosen, rng.integers(2**62, size=share), setting, steps_a_call)
            sums.append(post(_train, self._population, part, job))
        first, *others = [found.result() for found in sums]
        total: Sum = sum(others, start=first)
        return total


# -- at the workers ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)  # its own part, and that of a worker that was lost
def _shard(population: Population, part: int) -> Shard:
    people = population.make_people(*population.arguments, part, population.parts)
    return Shard(population.head, people)


def _count(population: Population, part: int) -> int:
    return len(_shard(population, part))


def _train(population: Population, part: int, job: Job) -> Sum:
    return _shard(population, part).train(job)
