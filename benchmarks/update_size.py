"""Bytes of a device's round, all of them, and what smaller updates cost in quality.

Bytes are counted on real rounds with real dropouts (:mod:`benchmarks._measured_rounds`). Quality compares federated
training whose sums go through the shipped codec with the same training on float32 sums in the clear: same people, same
examples, same seeds for dropout and order. Click-through is expected (the typist's probabilities) on people who never
trained, each model at its own operating point; the interval resamples people and seeds.

``ratio`` is against the float32 update of the whole ranker, counted as embedding table and head (the encoder between
them is left out, which makes the ratio smaller); ``ratio_head`` against the head's own float32.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import BenchmarkError, Value
from benchmarks._measured_rounds import RoundBytes, measure_round
from benchmarks._replayed_people import HeldOut, People, type_everything
from coordinator.settings import Settings
from federated_protocol.plan import CodecSetting, SubsetBlock
from federated_protocol.update_codec import decode_sum, encode, layout, solve_codec
from federated_protocol.update_codec.rotation import rotate
from federated_protocol.update_codec.rounding import rounding_variance
from keyboard_app.simulation.lift import lift
from keyboard_app.simulation.people import shipped_replay
from keyboard_app.simulation.splits import outline
from keyboard_app.simulation.typist import TypistSetting
from suggestion_model.bundle import Bundle
from suggestion_model.runtime import Ranker
from suggestion_model.training import LocalSetting, train_locally
from suggestion_model.types import Example

DESCRIPTION = "bytes of a device's round, and what smaller updates cost in click-through"

GOALS = {0.1: 6_000, 0.3: 12_000}
GOAL_LOSS = 0.03
GOAL_RATIO = 100
PUBLISHED_NMSE = {1: 1.335, 2: 0.107, 4: 0.0043}
"""Hadamard + stochastic rounding, mean of 10 clients, d = 8192 lognormal (arXiv 2108.08842's comparison)."""
Weights = NDArray[np.float32]


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Measure.

    Raises
    ------
    BenchmarkError
        When a round does not come about, or the replay holds too few people.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks update_size", description=__doc__)
    parser.add_argument("--replay", type=Path, help="JSON lines (default: the replay that ships with the package)")
    parser.add_argument("--catalog", type=Path, help="query list (default: the catalog that ships)")
    parser.add_argument("--clients", type=int, default=100, help="devices in the measured rounds (default 100)")
    parser.add_argument("--devices", type=int, default=100, help="training devices of the quality part (default 100)")
    parser.add_argument("--rounds", type=int, default=15, help="federated rounds of the quality part (default 15)")
    parser.add_argument("--seeds", type=int, default=8, help="pairs of trainings (default 8)")
    parser.add_argument("--held-out", type=int, default=200, help="people scored, at most (default 200)")
    parser.add_argument("--dropouts", type=float, nargs="*", default=[0.1, 0.3], help="of the measured rounds")
    parser.add_argument("--deadline", type=float, default=30.0, help="seconds a phase waits for those who vanished")
    options = parser.parse_args(argv)
    replay = options.replay or shipped_replay()
    devices = min(options.devices, len(outline(replay).who_may_train))

    _say("counting bytes of real rounds")
    rounds = {dropout: measure_round(options.clients, dropout, options.deadline) for dropout in options.dropouts}
    _say("typing")
    people = type_everything(
        replay, options.catalog, devices, options.rounds, options.held_out, TypistSetting(), seed=0
    )
    _say("training")
    quality = _quality(people, options.rounds, options.seeds)
    table = error_table()

    bundle = Bundle.shipped()
    head, shape = 4 * len(bundle.weights0), bundle.architecture
    whole = 4 * (shape.vocabulary * shape.embedding_dimensions) + head
    first = rounds[options.dropouts[0]].bytes_up if options.dropouts else math.nan
    return {
        "bytes_up": first,
        "ratio": whole / first,
        "goal_ratio": GOAL_RATIO,
        "ratio_head": head / first,
        **quality,
        "goal_loss_high": GOAL_LOSS,
        "clients": options.clients,
        "rounds_measured": [_row(dropout, measured) for dropout, measured in rounds.items()],
        "up_by_request": {f"{dropout:g}": measured.up_by_request for dropout, measured in rounds.items()},
        "whole_ranker_float32_bytes": whole,
        "head_float32_bytes": head,
        "errors": table,
    }


def _row(dropout: float, measured: RoundBytes) -> dict[str, Value]:
    return {
        "dropout": dropout,
        "bytes_up": measured.bytes_up,
        "goal_bytes_up": GOALS.get(dropout),
        "largest_bytes_up": measured.largest_up,
        "bytes_down": measured.bytes_down,
        "requests": measured.requests,
        "survivors": measured.survivors,
        "wall_s": measured.wall_s,
    }


# -- quality -------------------------------------------------------------------------------------------------------


def _quality(people: People, rounds: int, seeds: int) -> dict[str, Value]:
    """Pairs of trainings: in the clear, and through the shipped codec."""
    laboratory = Laboratory(people, rounds)
    clear = [laboratory.train(seed, None) for seed in range(seeds)]
    coded = [laboratory.train(seed, laboratory.shipped_codec) for seed in range(seeds)]
    pairs, differences = [], []
    for plain, small in zip(clear, coded, strict=True):
        logits = laboratory.logits(plain), laboratory.logits(small)
        pairs.append((people.held_out.scored(logits[0]), people.held_out.scored(logits[1])))
        differences.append(people.held_out.auc(logits[1]) - people.held_out.auc(logits[0]))
    found = lift(pairs, people.held_out.people, np.random.default_rng(0))
    setting = laboratory.shipped_codec(bytes(32), bytes(32))
    return {
        "relative_ctr_loss": {"mean": -found.lift, "low": -found.high, "high": -found.low},
        "auc_difference": float(np.mean(differences)),
        "bits": setting.bits,
        "sent": setting.sent,
        "update_bytes": layout(setting, 0).packed_bytes,
        "training_devices": len(people.devices),
        "examples": sum(len(device.examples) for device in people.devices),
        "seeds": seeds,
        "held_out_people": people.held_out.people,
    }


class Laboratory:
    """Federated averaging of the head on recorded examples, with any codec in the middle."""

    def __init__(self, people: People, rounds: int, dropout: float = 0.1) -> None:
        self._people = people
        self._rounds = rounds
        self._dropout = dropout
        self._settings = Settings(authority_public_key="00" * 32)
        bundle = Bundle.shipped()
        self._start = bundle.weights0
        self._ranker = Ranker(bundle)
        self._held_out: HeldOut = people.held_out

    def shipped_codec(self, rotation_seed: bytes, subset_seed: bytes) -> CodecSetting:
        """What the coordinator's default settings give for this cohort."""
        codec = self._settings.codec
        cohort = math.ceil(len(self._people.devices) * self._settings.rounds.overselect)
        return solve_codec(
            len(self._start),
            codec.clip,
            codec.step,
            rotation_seed,
            codec.weight_levels,
            cohort,
            (cohort * codec.largest_count).bit_length(),
        )

    def train(self, seed: int, codec: object) -> Weights:
        """All rounds; ``codec`` makes a setting from two seeds, None sums float64 in the clear."""
        rng = np.random.default_rng(seed)
        weights = self._start.copy()
        for number in range(self._rounds):
            present = [d for d in self._people.devices if rng.random() >= self._dropout]
            seeds = rng.bytes(32), rng.bytes(32)
            updates = [(i, *self._local(weights, d.at_round(number), seed, i)) for i, d in enumerate(present)]
            mean = self._mean(updates, codec(*seeds) if callable(codec) else None, seed, number)
            weights = (weights + mean).astype(np.float32)
        return weights

    def logits(self, weights: Weights) -> NDArray[np.float32]:
        """Of every held-out candidate."""
        self._ranker.set_weights(weights)
        return self._ranker.scores(self._held_out.inputs)

    def _local(self, weights: Weights, examples: Sequence[Example], seed: int, i: int) -> tuple[Weights, float]:
        training = self._settings.training
        if not examples:
            return np.zeros_like(weights), 0.0
        setting = LocalSetting(training.epochs, training.batch_size, training.learning_rate, training.proximal)
        update = train_locally(self._ranker, weights, examples, setting, np.random.default_rng([seed, i]))
        return update.delta, min(len(examples), training.weight_cap) / training.weight_cap

    @staticmethod
    def _mean(
        updates: Sequence[tuple[int, Weights, float]], setting: CodecSetting | None, seed: int, number: int
    ) -> NDArray[np.float64]:
        total = sum(weight for _, _, weight in updates)
        if total == 0:
            return np.zeros(len(updates[0][1]) if updates else 1)
        if setting is None:
            terms = [weight * delta.astype(np.float64) for _, delta, weight in updates]
            return np.asarray(np.sum(terms, axis=0), np.float64) / total
        vectors = [
            encode(delta, weight, [], setting, np.random.default_rng([seed, number, i]).bytes)
            for i, delta, weight in updates
        ]
        summed = np.asarray(np.sum(vectors, axis=0, dtype=np.uint64), np.uint64).astype(np.uint32)
        layout(setting, 0).reduce(summed)
        return decode_sum(summed, setting, len(vectors)).mean_update()


# -- error against bits and subset ---------------------------------------------------------------------------------


def error_table(dimension: int = 8192, clients: int = 10) -> list[dict[str, Value]]:
    """Normalised squared error of a mean of lognormal vectors, by levels and by the share that travels.

    The step spans the largest rotated coordinate of all clients with 2^bits levels. Theory: ``(1/p - 1) |mean|^2`` for
    the subset, and ``sum f (1 - f) step^2 / (p clients)^2`` for the rounding (f fractional parts), both over |x|^2 = 1.
    """
    rows: list[dict[str, Value]] = []
    updates = [_lognormal(dimension, seed) for seed in range(clients)]
    mean = np.mean(updates, axis=0)
    for share in (1.0, 0.25, 0.0625):
        for bits in (1, 2, 4, 8):
            blocks = (SubsetBlock(length=dimension, chosen=round(dimension * share)),) if share < 1 else ()
            measured, theory, width = [], [], 0
            for trial in range(4):
                rng = np.random.default_rng(trial)
                seeds = rng.bytes(32), rng.bytes(32) if blocks else b""
                rough = solve_codec(dimension, 1.0, 0.1, seeds[0], 100, clients, 24, blocks, seeds[1])
                sent = [_travelling(x, rough) for x in updates]
                step = 2 * max(float(np.abs(x).max()) for x in sent) / (2**bits - 1)
                setting = solve_codec(dimension, 1.0, step, seeds[0], 100, clients, 24, blocks, seeds[1])
                vectors = [encode(x, 1.0, [], setting, rng.bytes) for x in updates]
                summed = np.asarray(np.sum(vectors, axis=0, dtype=np.uint64), np.uint64).astype(np.uint32)
                layout(setting, 0).reduce(summed)
                found = decode_sum(summed, setting, clients).mean_update()
                measured.append(float(((found - mean) ** 2).sum()))
                rounding = sum(rounding_variance(x / step) for x in sent) * step**2
                theory.append((1 / share - 1) * float(mean @ mean) + rounding / (share * clients) ** 2)
                width = setting.bits
            rows.append(
                {
                    "subset": share,
                    "bits": bits,
                    "nmse": float(np.mean(measured)),
                    "theory": float(np.mean(theory)),
                    "own_steps": _with_own_steps(updates, bits) if share == 1 else None,
                    "published": PUBLISHED_NMSE.get(bits) if share == 1 else None,
                    "wire_bits": width,
                    "bytes": layout(setting, 0).packed_bytes,
                }
            )
    return rows


def _with_own_steps(updates: Sequence[NDArray[np.float64]], bits: int) -> float:
    """What the error would be if each client had a step of its own, which masks do not allow: as published."""
    error = 0.0
    for x in updates:
        y = rotate(x, bytes(32))
        step = float(y.max() - y.min()) / (2**bits - 1)
        error += rounding_variance((y - y.min()) / step) * step**2
    return error / len(updates) ** 2


def _travelling(x: NDArray[np.float64], setting: CodecSetting) -> NDArray[np.float64]:
    from federated_protocol.update_codec.subset import chosen_coordinates

    part = x[chosen_coordinates(setting.subset, setting.subset_seed)[0]] if setting.subset else x
    return rotate(part, setting.rotation_seed)


def _lognormal(dimension: int, seed: int) -> NDArray[np.float64]:
    x = np.random.default_rng(seed).lognormal(size=dimension)
    return np.asarray(x / np.linalg.norm(x), np.float64)


def _say(what: str) -> None:
    print(f"update_size: {what}", file=sys.stderr)


__all__ = ["DESCRIPTION", "BenchmarkError", "Laboratory", "error_table", "main"]
