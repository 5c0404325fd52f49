"""Bytes of a device's round, all of them, and what smaller updates cost in quality.

Bytes are counted on real rounds with real dropouts (:mod:`benchmarks._measured_rounds`). Quality compares federated
training whose sums go through a codec with the same training on float sums in the clear: same people, same examples,
same seeds for dropout and order. Click-through is expected (the typist's probabilities) on people who never trained,
each model at its own operating point; the interval resamples people and seeds.

(a) trains the shipped head through the shipped codec. (b) trains the whole ranker, embedding and encoder too, along a
seeded random subspace, and is compared with training every weight of it in the clear; beside its own loss stands its
click-through against (a)'s. ``ratio`` is a float32 update of the whole ranker over all bytes sent, ``ratio_head``
one of the head. A masked input differs between (a), (b) and a larger head in its packed vector alone, so the bytes of
the latter two are (a)'s, measured, with that part exchanged.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import Value
from benchmarks._codec_errors import error_table
from benchmarks._federated_training import Head, Laboratory, MakeCodec, Trainable, Weights, Whole
from benchmarks._measured_rounds import RoundBytes, measure_round
from benchmarks._replayed_people import People, type_everything
from coordinator.rounds.planning import make_codec
from coordinator.settings import CodecTarget, Settings
from federated_protocol.update_codec import layout
from keyboard_app.simulation.lift import lift
from keyboard_app.simulation.people import shipped_replay
from keyboard_app.simulation.splits import outline
from keyboard_app.simulation.typist import TypistSetting
from suggestion_model.bundle import Bundle

DESCRIPTION = "bytes of a device's round, and what smaller updates cost in click-through"

GOALS = {0.1: 6_000, 0.3: 12_000}
GOAL_LOSS = 0.03
GOAL_RATIO = 100
LARGE_HEAD = 7_300
"""Weights of a head of 29 kB, all but these of hashed features."""
LARGE_DENSE = 203
MOVED = (3072, 512)
"""Coordinates of the subspace that move the embedding and the encoder."""
WHOLE_CODEC = CodecTarget(most_sent=0)
SETTINGS = Settings(authority_public_key="00" * 32)
"""The coordinator's defaults, its optimiser among them: without it, 15 rounds would teach next to nothing."""


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
    parser.add_argument("--seeds", type=int, default=8, help="pairs of trainings of the head (default 8)")
    parser.add_argument("--whole-seeds", type=int, default=3, help="pairs of trainings of the whole ranker (default 3)")
    parser.add_argument("--held-out", type=int, default=200, help="people scored, at most (default 200)")
    parser.add_argument("--dropouts", type=float, nargs="+", default=[0.1, 0.3], help="of the measured rounds")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds a phase waits for those who vanished")
    parser.add_argument("--cache", type=Path, help="folder for finished parts: a run that was ended goes on there")
    options = parser.parse_args(argv)
    parts = Parts(options)

    rounds = {
        dropout: parts.bytes_of(dropout, partial(measure_round, options.clients, dropout, options.deadline))
        for dropout in options.dropouts
    }
    first = rounds[options.dropouts[0]].bytes_up
    bundle, settings = Bundle.shipped(), SETTINGS
    people = parts.people()
    quality = Quality(parts, people, settings)
    head = Head(bundle, settings.training)
    moved = Whole(bundle, settings.training, MOVED, bytes(32))
    whole = Whole(bundle, settings.training, None, bytes(32))
    cohort = max(options.clients, len(people.devices))
    head_codec = _codec(settings.codec, len(head.start), cohort)
    whole_codec = _codec(WHOLE_CODEC, len(moved.start), cohort)
    wide = msgspec.structs.replace(settings.codec, subset_block=(2, LARGE_HEAD - LARGE_DENSE - 2))
    large_codec = _codec(wide, LARGE_HEAD, cohort)
    clear = quality.trained("head-clear", head, None, options.seeds)
    coded = quality.trained("head-coded", head, head_codec, options.seeds)
    whole_clear = quality.trained("whole-clear", whole, None, options.whole_seeds)
    whole_coded = quality.trained("whole-coded", moved, whole_codec, options.whole_seeds)

    whole_bytes = 4 * whole.weights

    def up_with(codec: MakeCodec) -> dict[str, float]:
        more = layout(codec(bytes), 0).packed_bytes - layout(head_codec(bytes), 0).packed_bytes
        return {f"{dropout:g}": round(found.bytes_up + more, 1) for dropout, found in rounds.items()}

    whole_up, large_up = up_with(whole_codec), up_with(large_codec)
    whole_first, large_first = next(iter(whole_up.values())), next(iter(large_up.values()))
    return {
        "bytes_up": first,
        "bytes_down": rounds[options.dropouts[0]].bytes_down,
        "ratio": whole_bytes / first,
        "goal_ratio": GOAL_RATIO,
        "ratio_head": 4 * len(head.start) / first,
        **quality.cost(clear, coded),
        "goal_loss_high": GOAL_LOSS,
        "clients": options.clients,
        "rounds_measured": [_row(dropout, measured) for dropout, measured in rounds.items()],
        "up_by_request": {f"{dropout:g}": measured.up_by_request for dropout, measured in rounds.items()},
        **_described(head_codec),
        "seeds": options.seeds,
        "training_devices": len(people.devices),
        "examples": sum(len(device.examples) for device in people.devices),
        "held_out_people": people.held_out.people,
        "whole_ranker_float32_bytes": whole_bytes,
        "head_float32_bytes": 4 * len(head.start),
        "whole_ranker": {
            "how": "a seeded random subspace moves embedding and encoder; the head moves as it is",
            "weights": whole.weights,
            "subspace": len(moved.start),
            "bytes_up": whole_first,
            "bytes_up_by_dropout": whole_up,
            "ratio": whole_bytes / whole_first,
            **quality.cost(whole_clear, whole_coded),
            "seeds": options.whole_seeds,
            **_described(whole_codec),
            "click_through_against_head": quality.lift_of(coded[: len(whole_coded)], whole_coded),
        },
        "lift_over_version_0": {
            "head_clear": quality.over_start(head, clear),
            "head": quality.over_start(head, coded),
            "whole_clear": quality.over_start(head, whole_clear),
            "whole": quality.over_start(head, whole_coded),
        },
        "head_of_29_kb": {
            "weights": LARGE_HEAD,
            "bytes_up_by_dropout": large_up,
            **_described(large_codec),
            "ratio_head": 4 * LARGE_HEAD / large_first,
        },
        "errors": error_table(),
    }


def _codec(target: CodecTarget, dimension: int, cohort: int) -> MakeCodec:
    return lambda rng: make_codec(target, dimension, cohort, rng)


def _described(codec: MakeCodec) -> dict[str, Value]:
    setting = codec(bytes)
    return {"bits": setting.bits, "sent": setting.sent, "update_bytes": layout(setting, 0).packed_bytes}


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


class Quality:
    """Trained models, and what one costs against another."""

    def __init__(self, parts: Parts, people: People, settings: Settings) -> None:
        self._parts = parts
        self._people = people
        self._laboratory = Laboratory(people, parts.rounds, settings.training.weight_cap, settings.optimizer)

    def trained(self, name: str, model: Trainable, codec: MakeCodec | None, seeds: int) -> list[NDArray[np.float32]]:
        """The held-out logits of the model that each seed leads to."""

        def logits(seed: int) -> Weights:
            return self._laboratory.logits(model, self._laboratory.train(model, codec, seed))

        return [self._parts.array(f"{name}-{seed}", partial(logits, seed)) for seed in range(seeds)]

    def cost(self, plain: Sequence[Weights], small: Sequence[Weights]) -> dict[str, Value]:
        """What the second costs against the first, seed by seed."""
        found = self.lift_of(plain, small)
        auc = self._people.held_out.auc
        return {
            "relative_ctr_loss": {"mean": -found["mean"], "low": -found["high"], "high": -found["low"]},
            "auc_difference": float(np.mean([auc(b) - auc(a) for a, b in zip(plain, small, strict=True)])),
        }

    def lift_of(self, one: Sequence[Weights], other: Sequence[Weights]) -> dict[str, float]:
        """Relative click-through of the second over the first."""
        held_out = self._people.held_out
        pairs = [(held_out.scored(a), held_out.scored(b)) for a, b in zip(one, other, strict=True)]
        found = lift(pairs, held_out.people, np.random.default_rng(0))
        return {"mean": found.lift, "low": found.low, "high": found.high}

    def over_start(self, head: Head, logits: Sequence[Weights]) -> dict[str, float]:
        """Relative click-through over version 0."""
        start = self._parts.array("version-0", lambda: self._laboratory.logits(head, head.start))
        return self.lift_of([start] * len(logits), logits)


class Parts:
    """Finished parts of a run, kept in a folder of the caller's where one is given, and read from there again."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.replay: Path = options.replay or shipped_replay()
        self.rounds: int = options.rounds
        self._folder: Path | None = None
        if options.cache is not None:
            same = (
                (options.catalog, options.devices, options.rounds, options.held_out, Bundle.shipped().digest),
                (SETTINGS.training, SETTINGS.optimizer, SETTINGS.codec),
            )
            name = hashlib.sha256(self.replay.read_bytes() + repr(same).encode()).hexdigest()[:16]
            self._folder = options.cache / name
            self._folder.mkdir(parents=True, exist_ok=True)

    def bytes_of(self, dropout: float, measure: Callable[[], RoundBytes]) -> RoundBytes:
        """Bytes of a measured round."""
        name = f"bytes-{self._options.clients}-{dropout:g}-{self._options.deadline:g}.json"
        raw = self._kept(name, lambda: msgspec.json.encode(measure()))
        return msgspec.json.decode(raw, type=RoundBytes)

    def people(self) -> People:
        """Everybody's examples and held-out lines."""
        options = self._options

        def type_all() -> bytes:
            devices = min(options.devices, len(outline(self.replay).who_may_train))
            found = type_everything(
                self.replay, options.catalog, devices, options.rounds, options.held_out, TypistSetting(), seed=0
            )
            return pickle.dumps(found)

        people: People = pickle.loads(self._kept("people.pickle", type_all))
        return people

    def array(self, name: str, make: Callable[[], Weights]) -> Weights:
        """One float32 array."""
        raw = self._kept(f"{name}.f4", lambda: make().astype("<f4").tobytes())
        return np.frombuffer(raw, "<f4")

    def _kept(self, name: str, make: Callable[[], Any]) -> bytes:
        path = None if self._folder is None else self._folder / name
        if path is not None and path.exists():
            return path.read_bytes()
        print(f"update_size: {name.rpartition('.')[0]}", file=sys.stderr, flush=True)
        made: bytes = make()
        if path is not None:
            part = path.with_name(name + ".part")
            part.write_bytes(made)
            part.replace(path)
        return made
