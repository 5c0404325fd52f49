"""From results by method and seed to the figures that are printed, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import Value
from benchmarks.learning.judging import METRICS, gain, over_seeds, rounds_to
from benchmarks.learning.laboratory import Found, LaboratorySetting
from benchmarks.learning.slices import mean_slices

TARGET = 0.95
"""Share of the centralised gain that rounds and bytes are counted to."""
_GAINS = (("auc", "auc_gain"), ("ctr_at_90", "ctr_gain"))
_REPORTED = ("metrics", "curve", "rounds", "slices")
"""Parts of a run that are reported under names of their own."""
_NO_GAIN = ("reference", "v0", "centralised", "oracle", "oracle_among_strangers")
GOALS: dict[str, Value] = {
    "recall_at_8": 0.92,
    "ctr_over_reference": 6.0,
    "ctr_over_v0": 2.0,
    "auc_gain": 0.95,
    "ctr_gain": 0.90,
    "offers_on_chat": 0.02,
}


def report(setting: LaboratorySetting, found: Found) -> dict[str, Value]:
    """Everything ``python -m benchmarks learning`` prints."""
    methods = {name: _by_seed(found, name, setting.seeds) for name in setting.methods}
    gains = _gains(methods)
    rounds, sizes = _to_target(methods)
    return {
        "replay": setting.replay.name,
        "catalog": setting.catalog.name if setting.catalog is not None else "shipped",
        "devices": setting.devices,
        "rounds": setting.rounds,
        "seeds": setting.seeds,
        "coverage": found.recall["coverage"],
        "recall_at_8": found.recall["recall_at_8"],
        "recall": found.recall,
        "methods": {
            name: {metric: over_seeds([run["metrics"][metric] for run in runs]) for metric in METRICS}
            for name, runs in methods.items()
        },
        "auc_gain": gains.get("fedavg", {}).get("auc_gain"),
        "ctr_gain": gains.get("fedavg", {}).get("ctr_gain"),
        "gains": gains,
        "ctr_over": _ratios(methods),
        "rounds_to_target": rounds,
        "bytes_to_target": sizes,
        "curves": {name: _curve(runs) for name, runs in methods.items()},
        "by_round": {name: _by_round(runs) for name, runs in methods.items() if "rounds" in runs[0]},
        "slices": {name: mean_slices([run["slices"] for run in runs]) for name, runs in methods.items()},
        "bounds": _bounds(methods),
        "studies": found.studies,
        "details": {name: _details(runs) for name, runs in methods.items()},
        "lines_per_s": found.typed.lines / max(found.typed.seconds, 1e-9),
        "lines_typed": found.typed.lines,
        "goals": GOALS,
    }


def _by_seed(found: Found, name: str, seeds: int) -> list[dict[str, Any]]:
    return [found.results[name, seed] for seed in range(seeds)]


def _gains(methods: Mapping[str, list[dict[str, Any]]]) -> dict[str, dict[str, Value]]:
    """(method - v0) / (centralised - v0), seed by seed."""
    if "v0" not in methods or "centralised" not in methods:
        return {}
    found: dict[str, dict[str, Value]] = {}
    for name, runs in methods.items():
        if name in _NO_GAIN:
            continue
        triples = list(zip(runs, methods["v0"], methods["centralised"], strict=True))
        found[name] = {
            label: over_seeds([gain(*(run["metrics"][metric] for run in triple)) for triple in triples])
            for metric, label in _GAINS
        }
    return found


def _ratios(methods: Mapping[str, list[dict[str, Any]]]) -> dict[str, dict[str, Value]]:
    """CTR at 90 % of the clicks, over the reference's and over version 0's."""
    found: dict[str, dict[str, Value]] = {}
    for name, runs in methods.items():
        found[name] = {
            base: over_seeds(
                [
                    one["metrics"]["ctr_at_90"] / other["metrics"]["ctr_at_90"]
                    for one, other in zip(runs, methods[base], strict=True)
                ]
            )
            for base in ("reference", "v0")
            if base in methods and base != name
        }
    return found


def _bounds(methods: Mapping[str, list[dict[str, Any]]]) -> dict[str, Value]:
    """How good anything can get: the oracles' CTR at 90 % of the clicks, over version 0's."""
    return {
        name: ratio["v0"] for name, ratio in _ratios(methods).items() if name.startswith("oracle") and "v0" in ratio
    }


def _to_target(methods: Mapping[str, list[dict[str, Any]]]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Rounds, and bytes of all devices up and down, to :data:`TARGET` of the centralised gain; by method and metric."""
    rounds: dict[str, Value] = {}
    sizes: dict[str, Value] = {}
    if "v0" not in methods or "centralised" not in methods:
        return rounds, sizes
    for name, runs in methods.items():
        if "rounds" not in runs[0]:
            continue
        reached: dict[str, list[int | None]] = {metric: [] for metric, _ in _GAINS}
        for run, start, bound in zip(runs, methods["v0"], methods["centralised"], strict=True):
            curve = [(int(point["round"]), point) for point in run["rounds"]]
            for metric, _ in _GAINS:
                low, high = start["metrics"][metric], bound["metrics"][metric]
                reached[metric].append(rounds_to(curve, metric, low + TARGET * (high - low)))
        rounds[name] = {metric: over_seeds(numbers) for metric, numbers in reached.items()}
        sizes[name] = {
            metric: over_seeds([None if n is None else n * runs[0]["bytes_a_round"] for n in numbers])
            for metric, numbers in reached.items()
        }
    return rounds, sizes


def _curve(runs: list[dict[str, Any]]) -> list[dict[str, Value]]:
    """The trade-off, means over seeds."""
    return [
        {name: sum(run["curve"][place][name] for run in runs) / len(runs) for name in runs[0]["curve"][place]}
        for place in range(len(runs[0]["curve"]))
    ]


def _by_round(runs: list[dict[str, Any]]) -> list[dict[str, Value]]:
    return [
        {name: sum(run["rounds"][place][name] for run in runs) / len(runs) for name in runs[0]["rounds"][place]}
        for place in range(len(runs[0]["rounds"]))
    ]


def _details(runs: list[dict[str, Any]]) -> list[dict[str, Value]]:
    return [{name: value for name, value in run.items() if name not in _REPORTED} for run in runs]
