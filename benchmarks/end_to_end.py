"""What federated learning is worth, end to end: the real demo, a run a seed, scored on people who never trained.

Reported is the expected click-through rate of version 0 and of the last version, each at its own threshold that keeps
90 % of the clicks which always showing its best candidate would get, over held-out people and the last four days of the
others; and the lift with its 95 % interval, people resampled (the same ones in all seeds), seeds too. ``clicks_kept``
compares the clicks at these two points; what the last version does at the threshold it was published with stands under
``published_``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import BenchmarkError, Value
from keyboard_app.simulation.demo import Demo, DemoError
from keyboard_app.simulation.demo_state import DemoResult, DemoSetting, DemoState
from keyboard_app.simulation.evaluation import Comparison, Evaluation
from keyboard_app.simulation.lift import Lift, lift
from keyboard_app.simulation.people import shipped_replay

DESCRIPTION = "expected CTR of version 0 and of the last version after real rounds"

GOAL_LIFT = 0.3


class _Narrator:
    """Writes what is being done to standard error, each thing once."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._started = time.monotonic()
        self._said = ""

    def update(self, state: DemoState) -> None:
        """One line for every version, and for every new activity outside rounds."""
        published = state.status.versions_made if state.status is not None else 0
        busy = state.newest and len(state.done) < len(state.ready)
        doing = f"{published} versions made" if busy else state.doing
        if doing != self._said:
            self._said = doing
            print(f"seed {self._seed}, {time.monotonic() - self._started:5.1f} s: {doing}", file=sys.stderr)


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Run; see the module."""
    options = _options(argv)
    for path in (options.replay, options.catalog):
        if path is not None and not path.exists():
            raise BenchmarkError(f"there is no file {path}; give the replay and the catalog that belong together")
    started = time.monotonic()
    results = {seed: _run(options, seed) for seed in range(options.first_seed, options.first_seed + options.seeds)}
    evaluations = [_evaluation(result) for result in results.values()]
    overall = _combine(evaluations)
    return {
        "replay": (options.replay or shipped_replay()).name,
        "devices": options.devices,
        "rounds": options.rounds,
        "seeds": options.seeds,
        "v0_ctr": float(np.mean([found.overall.first.ctr for found in evaluations])),
        "last_ctr": float(np.mean([found.overall.last.ctr for found in evaluations])),
        "lift": overall.lift,
        "lift_low": overall.low,
        "lift_high": overall.high,
        "goal_lift": GOAL_LIFT,
        "people": overall.people,
        "runs": [_record(seed, result) for seed, result in results.items()],
        "seconds": round(time.monotonic() - started, 1),
    }


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks end_to_end", description=__doc__)
    parser.add_argument("--replay", type=Path, help="the shipped replay by default")
    parser.add_argument("--catalog", type=Path, help="the shipped catalog by default")
    parser.add_argument("--devices", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1, help="number of runs")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--dropout", type=float, default=0.1, help="share of devices that vanish in each round")
    parser.add_argument("--typist", type=Path, help="JSON that overrides constants of the simulated typist")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments", help="of the coordinator"
    )
    options = parser.parse_args(argv)
    if options.seeds < 1 or options.devices < 4 or options.rounds < 1:
        parser.error("at least one seed, four devices and one round")
    return options


def _run(options: argparse.Namespace, seed: int) -> DemoResult:
    setting = DemoSetting(
        replay=options.replay or shipped_replay(),
        catalog=options.catalog,
        devices=options.devices,
        rounds=options.rounds,
        seed=seed,
        dropout=options.dropout,
        typist=options.typist,
        coordinator_settings=tuple(options.assignments),
    )
    try:
        with Demo(setting, _Narrator(seed)) as demo:
            return demo.run()
    except DemoError as error:
        raise BenchmarkError(str(error)) from error


def _evaluation(result: DemoResult) -> Evaluation:
    if result.evaluation is None:
        raise BenchmarkError("the run was not evaluated")
    return result.evaluation


def _combine(evaluations: Sequence[Evaluation]) -> Lift:
    """Lift over all seeds. Only held-out people are the same in every seed, so they are matched from the front."""
    people = max(int(found.overall.lift.people) for found in evaluations)
    return lift([found.scored for found in evaluations], people, np.random.default_rng(0))


def _record(seed: int, result: DemoResult) -> dict[str, Value]:
    evaluation = _evaluation(result)
    published = [row for row in result.rounds if row.version is not None]
    bytes_up = [row.bytes_up_per_device for row in published if row.bytes_up_per_device is not None]
    found, published_point = evaluation.overall, evaluation.published
    return {
        "seed": seed,
        "last_version": result.last_version,
        "v0_ctr": found.first.ctr,
        "last_ctr": found.last.ctr,
        "lift": found.lift.lift,
        "lift_low": found.lift.low,
        "lift_high": found.lift.high,
        "lift_new_people": _lift(evaluation.new_people),
        "lift_known_people": _lift(evaluation.known_people),
        "v0_offers_per_line": found.first.offers_per_line,
        "last_offers_per_line": found.last.offers_per_line,
        "clicks_kept": found.last.clicks / found.first.clicks if found.first.clicks else None,
        "published_ctr": published_point.ctr,
        "published_offers_per_line": published_point.offers_per_line,
        "published_clicks_kept": published_point.clicks / max(published_point.clicks_of_all, 1e-12),
        "participants": float(np.mean([row.participants for row in published])) if published else 0.0,
        "dropouts": sum(row.dropouts for row in result.rounds),
        "abandoned": len(result.rounds) - len(published),
        "bytes_up_per_device_and_round": float(np.mean(bytes_up)) if bytes_up else None,
        "keyboards_on_last_version": f"{result.keyboards_on_last_version} of {result.keyboards}",
        "seconds": round(result.seconds, 1),
    }


def _lift(comparison: Comparison | None) -> float | None:
    return None if comparison is None else comparison.lift.lift
