"""From a replay to all results: types, then runs every (method, seed) as a job in a worker process, all cached."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import BenchmarkError
from benchmarks._workers import Workers
from benchmarks.learning.cache import SEEN_BY_TRAINING, UNSEEN_BY_TRAINING, Shelf, digest_of, digest_of_code
from benchmarks.learning.methods import METHODS, Bench, run_method
from benchmarks.learning.studies import STUDIES, run_study, worlds_of
from benchmarks.learning.typing_stage import Typed, TypingStage
from benchmarks.learning.worlds import World
from benchmarks.recall import catalog_recall
from keyboard_app.simulation.replay import read_replay
from keyboard_app.simulation.typist import TypistSetting
from suggestion_model.catalog import load_catalog, shipped_catalog

RECALL = "recall"

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and how much there is."""


@dataclass(frozen=True)
class LaboratorySetting:
    """What is run."""

    replay: Path
    catalog: Path | None
    typist: TypistSetting
    devices: int
    rounds: int
    seeds: int
    methods: tuple[str, ...]
    studies: tuple[str, ...]
    cache: Path
    workers: Workers
    most_people: int | None = None


@dataclass(frozen=True)
class Found:
    """All results."""

    results: dict[tuple[str, int], dict[str, Any]]
    """By method and seed, as :func:`benchmarks.learning.methods.run_method` gives them."""
    studies: dict[str, dict[str, Any]]
    recall: dict[str, Any]
    typed: Typed
    devices: int
    """A round's cohort, at most as many as there are training devices."""


def run_laboratory(setting: LaboratorySetting, progress: Progress) -> Found:
    """Type, train, judge.

    Raises:
        BenchmarkError: a method has no such name, or the replay is too small.
        ReplayError, CatalogError, BundleError: something cannot be read.
    """
    known = (*METHODS, *STUDIES)
    if unknown := sorted({*setting.methods, *setting.studies} - set(known)):
        raise BenchmarkError(f"there is no method {unknown[0]}; there are: {', '.join(known)}")
    stage = _stage(setting)
    seeds = [msgspec.structs.replace(setting.typist, seed=setting.typist.seed + seed) for seed in range(setting.seeds)]
    worlds = [World(typist) for typist in seeds]
    plain = [World(typist, source="reference") for typist in seeds] if "reference" in setting.methods else []
    studied = [world for study in setting.studies for world in worlds_of(study, seeds[0]).values()]
    typed = stage.type([*worlds, *plain, *studied], lambda done, all_: progress("typing", done, all_))
    results = _run_jobs(setting, stage, seeds, progress)
    recall = results.pop((RECALL, 0))
    studies = {study: results.pop((study, 0)) for study in setting.studies}
    return Found(results, studies, recall, typed, setting.devices)


def _stage(setting: LaboratorySetting) -> TypingStage:
    return TypingStage(setting.replay, setting.catalog, setting.cache, setting.workers, setting.most_people)


@dataclass(frozen=True)
class _Job:
    method: str
    seed: int
    typist: TypistSetting
    key: str


def _run_jobs(
    setting: LaboratorySetting, stage: TypingStage, seeds: Sequence[TypistSetting], progress: Progress
) -> dict[tuple[str, int], dict[str, Any]]:
    shelf = Shelf(setting.cache / "results")
    code = digest_of_code(SEEN_BY_TRAINING, UNSEEN_BY_TRAINING)
    jobs = []
    for seed, typist in enumerate(seeds):
        for method in (*setting.methods, *(setting.studies if not seed else ())):
            about = (stage.key(World(typist)), code, method, str(setting.devices), str(setting.rounds), str(seed))
            jobs.append(_Job(method, seed, typist, f"{method}-{digest_of(*about)}"))
    jobs.append(_Job(RECALL, 0, seeds[0], f"{RECALL}-{digest_of(stage.key(World(TypistSetting())), code)}"))
    results = {(job.method, job.seed): known for job in jobs if (known := shelf.get(job.key)) is not None}
    left = sorted((job for job in jobs if (job.method, job.seed) not in results), key=_turn)
    progress("training", len(results), len(jobs))
    there = dataclasses.replace(setting, workers=Workers(1))  # who works shares nothing out
    for job, result in setting.workers.each(_run_job, _Setup(there, code), left):
        # Through JSON, so that fresh results and kept ones are the same.
        results[job.method, job.seed] = json.loads(json.dumps(result))
        shelf.put(job.key, results[job.method, job.seed])
        progress("training", len(results), len(jobs))
    return results


def _turn(job: _Job) -> tuple[int, int, int]:
    """Seed by seed, as a process keeps one world; what others build on first, then what takes longest."""
    order = ("fedavg", "fedsgd", "centralised", RECALL, *STUDIES, *METHODS)
    return int(job.method == RECALL), job.seed, order.index(job.method)


# -- in the worker processes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setup:
    setting: LaboratorySetting
    code: str


def _run_job(setup: _Setup, job: _Job) -> dict[str, Any]:
    if job.method == RECALL:
        return _recall(setup.setting)
    bench = _bench(setup, job.typist, job.seed)
    if job.method in STUDIES:
        wanted = worlds_of(job.method, job.typist)
        typed = _stage(setup.setting).type(list(wanted.values())).worlds
        return run_study(job.method, bench, {name: typed[world] for name, world in wanted.items()})
    return run_method(job.method, bench)


def _recall(setting: LaboratorySetting) -> dict[str, Any]:
    found = (
        load_catalog(setting.catalog, sensitive=True)
        if setting.catalog is not None
        else shipped_catalog(sensitive=True)
    )
    return dataclasses.asdict(catalog_recall(read_replay(setting.replay), found))


@lru_cache(maxsize=1)  # one world at a time fits into memory
def _bench(setup: _Setup, typist: TypistSetting, seed: int) -> Bench:
    setting = setup.setting
    stage = _stage(setting)
    main, plain = World(typist), World(typist, source="reference")
    typed = stage.type([main, plain] if "reference" in setting.methods else [main]).worlds
    return Bench(
        world=typed[main],
        reference=typed.get(plain),
        devices=setting.devices,
        rounds=setting.rounds,
        seed=seed,
        folder=setting.cache / "runs" / digest_of(stage.key(main), setup.code, str(setting.devices)),
    )
