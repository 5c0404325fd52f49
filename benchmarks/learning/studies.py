"""Studies beside the methods: questions of their own, each on worlds of its own, on the first seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.federated import train
from benchmarks.learning.hashed_trigger import compare_descents, compare_rounds
from benchmarks.learning.learners import ranker_learner
from benchmarks.learning.methods import Bench, fedavg, personal_logits
from benchmarks.learning.personalisation import judge_personalisation
from benchmarks.learning.population import Index, Population
from benchmarks.learning.selection_bias import selection_bias
from benchmarks.learning.typing_stage import TypedWorld
from benchmarks.learning.unseen_topics import unseen_topics
from benchmarks.learning.worlds import World
from keyboard_app.simulation.typist import TypistSetting

STUDIES = ("selection_bias", "personalisation", "unseen_topics", "hashed_rounds", "fsvrg")
_NO_SPREAD = 1e6


def worlds_of(study: str, typist: TypistSetting) -> dict[str, World]:
    """The worlds a study needs beside the first seed's own, by name."""
    if study == "selection_bias":
        return {"field": World(typist, policy="field")}
    if study == "personalisation":
        strong = msgspec.structs.replace(typist, taste="strong", taste_alpha=None, taste_beta=None)
        # Everybody likes every topic as much as people with strong tastes do on average.
        even = msgspec.structs.replace(typist, taste_alpha=_NO_SPREAD, taste_beta=_NO_SPREAD)
        return {"strong": World(strong), "without_tastes": World(even)}
    return {}


def run_study(study: str, bench: Bench, worlds: Mapping[str, TypedWorld]) -> dict[str, Any]:
    """What a study reports."""
    if study == "selection_bias":
        return selection_bias(worlds["field"], bench.learner, bench.population.judged_rows, bench.population.judged)
    if study == "unseen_topics":
        return unseen_topics(bench)
    if study == "hashed_rounds":
        return compare_rounds(bench.population, bench.inner, bench.devices, bench.seed)
    if study == "fsvrg":
        return compare_descents(bench.population)
    return {name: _personalisation(bench, world) for name, world in worlds.items()}


def _personalisation(bench: Bench, world: TypedWorld) -> dict[str, Any]:
    population = Population(world)
    learner = ranker_learner(population)
    shared = train(fedavg(), learner, population, bench.devices, bench.rounds, bench.seed).weights

    def personalise(number: int, later: Index) -> NDArray[np.floating]:
        return personal_logits(learner, population, number, shared, later)

    def once(number: int, later: Index) -> NDArray[np.floating]:
        return personal_logits(learner, population, number, shared, later, each_night=False)

    return {
        **judge_personalisation(learner, population, shared, personalise),
        "inferred_once": judge_personalisation(learner, population, shared, once),
    }
