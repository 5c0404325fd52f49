"""How many device updates and typed lines a simulation gets through in a second, on this machine.

``user_updates_per_s`` is end to end: draw a cohort, train every person of it for two epochs from the same weights
through the loop a device runs (:class:`suggestion_model.training.LocalRun`, LiteRT), add the weighted updates up,
take the server's step; with no codec between. The head is one hidden layer on 195 inputs, 6,305 weights. People hold
a heavy-tailed number of examples (log-normal, mean 60) with a taste of their own; the held-out loss shows that the
rounds learn something. Figures of the same run stand beside it, as machines differ: updates a second of the workers'
processor time, which tells how much else the machine was doing; the same with one call of the model file a step; and
TensorFlow's own eager training loop on one process.

``lines_per_s`` is the typists' side: lines entered at once on real typing sessions with engine, catalog and log.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import BenchmarkError, Value
from benchmarks._sharded_training import ShardedTraining
from benchmarks._workers import Workers, add_options, chosen_workers
from suggestion_model.head_trainer import HeadRows, HeadTrainer
from suggestion_model.training import LocalSetting, whole_order

DESCRIPTION = "device updates and typed lines a second in a simulation on this machine"

GOAL = 9_000
INPUTS, HIDDEN = 195, 32
MEAN_EXAMPLES = 60.0
TAIL = 1.0
"""Deviation of the logarithm of a person's number of examples."""
SETTING = LocalSetting(epochs=2, batch_size=16, learning_rate=0.05)
Weights = NDArray[np.float32]


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Measure.

    Raises
    ------
    BenchmarkError
        When TensorFlow, which makes the head's model file, is not installed, or the cohort is larger than the people.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks simulation", description=__doc__)
    parser.add_argument("--people", type=int, default=2_000, help="people in all (default 2000)")
    parser.add_argument("--cohort", type=int, default=1_000, help="people a round (default 1000)")
    parser.add_argument("--rounds", type=int, default=40, help="timed rounds (default 40)")
    add_options(parser, min(os.cpu_count() or 1, 2))
    parser.add_argument("--lines", type=int, default=4_000, help="lines typed by each worker, at most (default 4000)")
    parser.add_argument("--replay", type=Path, help="JSON lines (default: the replay that ships with the package)")
    parser.add_argument("--catalog", type=Path, help="query list (default: the catalog that ships)")
    options = parser.parse_args(argv)
    workers = chosen_workers(parser, options)
    if not workers.count <= options.cohort <= options.people:
        raise BenchmarkError("the cohort must not be larger than the people, nor smaller than the workers")
    _say("making the model file")
    head = make_head()
    _say(f"{options.people} people on {workers.count} workers")
    training = _measure_training(head, options.people, options.cohort, options.rounds, workers)
    _say("TensorFlow, eagerly")
    eager = _tensorflow_updates_per_s(options.people)
    _say("typing")
    lines = _lines_per_s(workers, options.lines, options.replay, options.catalog)
    return {
        **training,
        "tensorflow_eager_one_process_per_s": eager,
        "lines_per_s": lines,
        "goal_user_updates_per_s": GOAL,
        "workers": workers.count,
        "on": "local processes" if workers.cluster is None else "a cluster",
    }


def make_head() -> bytes:
    """The model file of the head; its weights come with each call.

    Raises
    ------
    BenchmarkError
        When TensorFlow is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from suggestion_model.authoring.convert import convert_head
        from suggestion_model.authoring.heads import DenseHead
    except ImportError:
        raise BenchmarkError("needs TensorFlow: pip install 'federated-keyboard[authoring]'") from None
    return convert_head(DenseHead(INPUTS, HIDDEN))


def make_people(people: int, part: int, parts: int) -> list[HeadRows]:
    """The people ``part::parts`` of ``people``; the same whoever makes them."""
    counts = example_counts(people)
    truth = np.random.default_rng(1).standard_normal(INPUTS) / np.sqrt(INPUTS)
    made = []
    for person in range(part, people, parts):
        rng = np.random.default_rng([2, person])
        inputs = rng.standard_normal((int(counts[person]), INPUTS)).astype(np.float32)
        taste = truth * 2.0 + rng.standard_normal(INPUTS) * 0.5 / np.sqrt(INPUTS)
        tapped = rng.random(len(inputs)) < 1.0 / (1.0 + np.exp(-(inputs @ taste)))
        made.append(HeadRows({"inputs": inputs}, tapped.astype(np.float32), np.ones(len(inputs), np.float32)))
    return made


def example_counts(people: int) -> NDArray[np.int64]:
    """Examples of each person: log-normal, mean :data:`MEAN_EXAMPLES`, at least one, int64[people]."""
    drawn = np.random.default_rng(3).lognormal(0.0, TAIL, people)
    counts: NDArray[np.int64] = np.maximum(np.rint(drawn / drawn.mean() * MEAN_EXAMPLES), 1).astype(np.int64)
    return counts


def start_weights(dimension: int) -> Weights:
    """Small random weights, float32[d]."""
    return (np.random.default_rng(4).standard_normal(dimension) * 0.05).astype(np.float32)


def _measure_training(head: bytes, people: int, cohort: int, rounds: int, workers: Workers) -> dict[str, Value]:
    rng, counts = np.random.default_rng(0), example_counts(people)
    judge, held_out = HeadTrainer.load(head), HeadRows.join(make_people(people + 40, people, 1)[:40])
    weights = start_weights(judge.dimension)
    loss_before = judge.mean_loss(weights, held_out)
    with ShardedTraining(head, make_people, (people,), workers) as shards:

        def play(number: int, steps_a_call: int | None) -> tuple[float, int, float]:
            """Rounds in a row; returns seconds, people trained, and the workers' processor time in seconds."""
            nonlocal weights
            begun, trained, cpu_s = time.perf_counter(), 0, 0.0
            for _ in range(number):
                found = shards.round(weights, cohort, SETTING, rng, steps_a_call)
                weights = (weights + found.delta / found.examples).astype(np.float32)
                trained += cohort // workers.count * workers.count
                cpu_s += found.cpu_s
            return time.perf_counter() - begun, trained, cpu_s

        play(2, None)
        fast: list[float] = []
        slow: list[float] = []
        on_a_processor: list[float] = []
        # Alternating, so that what else the machine does meets both.
        for part in range(4):
            seconds, trained, cpu_s = play(max(1, rounds // 4), None)
            fast.append(trained / seconds)
            on_a_processor.append(trained / cpu_s)
            _say(f"{part + 1} of 4: {fast[-1]:,.0f} updates a second")
            seconds, trained, _ = play(1, 1)
            slow.append(trained / seconds)
    return {
        "user_updates_per_s": float(np.mean(fast)),
        "user_updates_per_s_best": max(fast),
        "user_updates_per_cpu_s": float(np.mean(on_a_processor)),
        "one_call_a_step_per_s": float(np.mean(slow)),
        "ratio_to_one_call_a_step": float(np.mean(fast) / np.mean(slow)),
        "weights": judge.dimension,
        "examples_a_user": float(counts.mean()),
        "examples_a_user_median": float(np.median(counts)),
        "examples_a_user_largest": int(counts.max()),
        "local_epochs": SETTING.epochs,
        "held_out_loss_before": loss_before,
        "held_out_loss_after": judge.mean_loss(weights, held_out),
        **_hundred_steps(judge, weights, make_people(1, 0, 1)[0]),
    }


def _hundred_steps(trainer: HeadTrainer, weights: Weights, rows: HeadRows) -> dict[str, Value]:
    """100 steps of this head and of the shipped ranker's, features included, in milliseconds."""
    from suggestion_model.bundle import Bundle
    from suggestion_model.features import CANDIDATE_TOKENS, CONTEXT_TOKENS, DENSE_FEATURES
    from suggestion_model.hashed_features import HASHED_FEATURES
    from suggestion_model.runtime import Ranker
    from suggestion_model.training import train_locally
    from suggestion_model.types import Example

    order = np.resize(whole_order(0, len(rows), SETTING), (50, SETTING.batch_size))
    begun = time.perf_counter()
    for _ in range(2):
        weights = trainer.train(weights, rows, order, SETTING.learning_rate)
    dense_ms = 1e3 * (time.perf_counter() - begun)
    bundle, rng = Bundle.shipped(), np.random.default_rng(5)
    ranker = Ranker(bundle)
    examples = [
        Example(
            rng.integers(2, ranker.vocabulary, CONTEXT_TOKENS).astype(np.int32),
            rng.integers(2, ranker.vocabulary, CANDIDATE_TOKENS).astype(np.int32),
            rng.random(DENSE_FEATURES).astype(np.float32),
            np.zeros(HASHED_FEATURES, np.int32),
            np.zeros(HASHED_FEATURES, np.float32),
            float(number % 5 == 0),
            1.0,
        )
        for number in range(160)
    ]
    setting = LocalSetting(epochs=10, batch_size=16, learning_rate=0.02)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        train_locally(ranker, bundle.weights0, examples, setting, rng)
        times.append(1e3 * (time.perf_counter() - begun))
    return {
        "hundred_steps_ms": float(np.median(times)),
        "goal_hundred_steps_ms": 50.0,
        "hundred_steps_of_this_head_ms": dense_ms,
    }


def _tensorflow_updates_per_s(people: int, most: int = 12) -> float:
    """The same head trained the usual way: a GradientTape a batch, run eagerly, on one process."""
    import tensorflow as tf

    from suggestion_model.authoring.heads import DenseHead, dimension, split

    head = DenseHead(INPUTS, HIDDEN)
    start = [tf.Variable(part) for part in split(head, tf.constant(start_weights(dimension(head))))]
    some = make_people(people, 0, max(1, people // most))[:most]
    begun = 0.0
    for number, rows in enumerate(some):
        if number == 1:  # the first one warms up
            begun = time.perf_counter()
        for step in whole_order(number, len(rows), SETTING):
            chosen = step[step >= 0]
            with tf.GradientTape() as tape:
                logit = head.logits(start, {"inputs": tf.constant(rows.inputs["inputs"][chosen])})
                losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=rows.label[chosen], logits=logit)
                loss = tf.reduce_mean(losses)
            for part, slope in zip(start, tape.gradient(loss, start), strict=True):
                part.assign_sub(SETTING.learning_rate * slope)
    mean = float(np.mean([len(rows) for rows in some[1:]])) / MEAN_EXAMPLES
    return (len(some) - 1) * mean / (time.perf_counter() - begun)


# -- the typists ---------------------------------------------------------------------------------------------------


def _lines_per_s(workers: Workers, lines: int, replay: Path | None, catalog: Path | None) -> float:
    with workers.posts() as posts:
        jobs = [post(_type, part, len(posts), lines, replay, catalog) for part, post in enumerate(posts)]
        found = [job.result() for job in jobs]
    return sum(typed / seconds for typed, seconds in found)


def _type(part: int, parts: int, most: int, replay: Path | None, catalog: Path | None) -> tuple[int, float]:
    """Lines typed and the seconds they took; loading is not counted."""
    from data_logging import ImpressionLog
    from keyboard_app.simulation.clock import SimulatedClock
    from keyboard_app.simulation.people import shipped_replay
    from keyboard_app.simulation.person import SimulatedPerson
    from keyboard_app.simulation.splits import load_people, outline
    from keyboard_app.simulation.typist import Typist, TypistSetting
    from keyboard_app.suggestions import SuggestionEngine, TypingSession
    from suggestion_model.bundle import Bundle
    from suggestion_model.catalog import load_catalog, shipped_catalog
    from suggestion_model.runtime import Ranker

    bundle, typist = Bundle.shipped(), Typist(TypistSetting())
    path = replay or shipped_replay()
    seen = outline(path)
    people = load_people(path, seen, seen.who_may_train[part::parts])
    source = load_catalog(catalog) if catalog is not None else shipped_catalog()
    ranker, typed = Ranker(bundle), 0
    begun = time.perf_counter()
    for user, person in people.items():
        if typed >= most:
            break
        clock = SimulatedClock()
        with tempfile.TemporaryDirectory() as folder:
            log = ImpressionLog(Path(folder) / "log.sqlite", clock=clock)
            engine = SuggestionEngine(
                bundle, source, log=log, clock=clock, rng=random.Random(user), timezone=UTC, ranker=ranker
            )
            session = TypingSession(engine, log, clock=clock, examined_after_s=typist.setting.dwell_s)
            typed += SimulatedPerson(session, typist, clock, "line").type_lines(person.training[: most - typed]).lines
            log.close()
    return typed, time.perf_counter() - begun


def _say(text: str) -> None:
    print(f"simulation: {text}", file=sys.stderr, flush=True)
