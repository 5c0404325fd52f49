"""The methods by name: what each does with one typed world, and what it reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.cache import Shelf
from benchmarks.learning.centralised import fit_centralised
from benchmarks.learning.federated import Algorithm, Channel, Coded, Gradient, Run, Steps, train
from benchmarks.learning.judging import calibrated
from benchmarks.learning.learners import Learner, Weights, ranker_learner
from benchmarks.learning.population import Index, Population
from benchmarks.learning.slices import judge_slices, parts_of
from benchmarks.learning.tuning import tuned
from benchmarks.learning.typing_stage import TypedWorld
from coordinator.aggregation import OptimizerState, make_optimizer
from coordinator.aggregation.optimizers import Adam, Averaging
from coordinator.privacy.accountant import accounted_epsilon
from coordinator.settings import CodecTarget, Settings
from federated_protocol.privacy import noise_sixteenths_for, rounded_norm_bound, sum_rho
from federated_protocol.privacy.discrete_gaussian import SIXTEENTHS
from keyboard_app.device.files import write_atomically
from suggestion_model.bundle import Bundle
from suggestion_model.metrics import log_loss
from suggestion_model.personalization import adjust, infer_taste
from suggestion_model.training import LocalSetting

SETTINGS = Settings(authority_public_key="00" * 32)
"""The coordinator's defaults: what ``fedavg`` runs with."""
LOCAL = LocalSetting(
    SETTINGS.training.epochs, SETTINGS.training.batch_size, SETTINGS.training.learning_rate, SETTINGS.training.proximal
)
STEP_GRID = tuple(10 ** (exponent / 2) for exponent in range(-4, 5))
"""Server steps tried for FedSGD first, 0.01 to 100."""
NOISE_MULTIPLIER = 4.0
PRIVATE_CLIP = 0.1
CHECKPOINT_ROUNDS = 10
_DAY_S = 86_400

OwnLogits = Callable[[int, Index], NDArray[np.floating]]
"""Logits of one device, by number, for some rows."""


@dataclass
class Bench:
    """What a method is given: the typed world of one seed, and where to keep things.

    Args:
        world: candidates of the catalog.
        reference: the same people on the plain reference; None where there is no query list.
        devices: cohort of a round.
        rounds: of every federated method.
        seed: of cohorts and orders.
        folder: for runs that can be taken up again.
    """

    world: TypedWorld
    reference: TypedWorld | None
    devices: int
    rounds: int
    seed: int
    folder: Path
    progress: Callable[[int, int], None] = lambda done, all_: None

    def __post_init__(self) -> None:
        self.population = Population(self.world)
        self.inner = Population(self.world, inner=True)
        self.learner: Learner = ranker_learner(self.population)


def run_method(name: str, bench: Bench) -> dict[str, Any]:
    """Everything one method reports on one seed; see the functions below for the extras."""
    if name == "reference":
        return _reference(bench)
    logits, extra = _SCORERS[name](bench)
    judged = bench.population.judged
    return {
        "metrics": judged.judge(logits),
        "curve": judged.curve(logits),
        "slices": _slices(bench.population, logits),
        **extra,
    }


def _slices(population: Population, scores: NDArray[np.floating]) -> dict[str, Any]:
    probability = population.judged.probability
    return judge_slices(parts_of(population.world, population.judged_rows, probability), scores, probability)


# -- methods that do not learn federatedly -------------------------------------------------------------------------


def _reference(bench: Bench) -> dict[str, Any]:
    """Top 1 on every line with any match: no threshold; probabilities by Platt scaling on the other half of people."""
    assert bench.reference is not None
    population = Population(bench.reference)
    rows = population.judged_rows
    scores = np.asarray(bench.reference.rows.baseline[rows])
    logits = calibrated(scores, population.judged.probability, bench.reference.rows.person[rows] % 2)
    return {
        "metrics": population.judged.judge_always(scores, logits),
        "curve": population.judged.curve(scores),
        "slices": _slices(population, scores),
        "ctr_with_a_threshold": population.judged.judge(scores, logits)["ctr_at_90"],
    }


def _v0(bench: Bench) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Thresholded baseline score: the shipped weights are an affine function of it."""
    logits = bench.learner.logits(bench.population.judged_rows, bench.learner.start)
    return logits, {"ctr_always": float(bench.population.judged.probability.mean())}


def _oracle(bench: Bench) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """The typist's own probability of tapping the catalog's best candidate: no model of these candidates is better."""
    return _logits_of(bench.population.judged.probability), {}


def _oracle_among_strangers(bench: Bench) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Knows what every line wants, and nobody's taste: the same probability with everybody's mean taste."""
    rows = bench.population.judged_rows
    probability, taste = bench.population.judged.probability, np.asarray(bench.world.rows.taste[rows], np.float64)
    slip = float(probability.min())
    interest = (probability - slip) / np.maximum(taste, 1e-9)
    return _logits_of(slip + interest * float(taste.mean())), {}


def _logits_of(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))


def _popularity(bench: Bench) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """How often training people tapped this query, shrunk towards its category's rate, that towards the overall one."""
    rows, population = bench.world.rows, bench.population
    trained = np.concatenate(population.devices)
    taps, weights = population.labels[trained].astype(np.float64), population.weights[trained].astype(np.float64)
    overall = float((taps * weights).sum() / weights.sum())

    def rates(group: NDArray[np.int32], prior: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
        size = int(group.max()) + 1
        clicks = np.bincount(group[trained], taps * weights, size)
        shown = np.bincount(group[trained], weights, size)
        return (clicks[group] + strength * prior) / (shown[group] + strength)

    by_category = rates(rows.category, np.full(len(rows.person), max(overall, 1e-6)), 20.0)
    by_query = rates(rows.query, by_category, 20.0)[population.judged_rows]
    return _logits_of(by_query), {}


def _centralised(bench: Bench) -> tuple[NDArray[np.float32], dict[str, Any]]:
    fit = fit_centralised(bench.learner, bench.inner, bench.population)
    return bench.learner.logits(bench.population.judged_rows, fit.weights), {
        "ridge": fit.ridge,
        "iterations": fit.iterations,
        "ridge_inside_grid": fit.ridge_inside,
    }


def _local_only(bench: Bench) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Each training device alone from version 0, judged on its own later days; who has no log keeps version 0."""
    best, losses = LOCAL, {}
    for epochs in (5, 20, 60):
        setting = replace(LOCAL, epochs=epochs)
        losses[epochs] = _own_later_loss(bench, setting)
        if losses[epochs] <= min(losses.values()):
            best = setting

    def alone(number: int, later: Index) -> NDArray[np.floating]:
        start = bench.learner.start
        change = bench.learner.train(bench.population.devices[number], start, best, [bench.seed, number])
        return bench.learner.logits(later, start + change)

    return _on_own_rows(bench, bench.learner.start, alone), {
        "epochs": best.epochs,
        "losses_by_epochs": {str(k): v for k, v in losses.items()},
    }


def _own_later_loss(bench: Bench, setting: LocalSetting) -> float:
    """Mean loss on the last quarter of each device's own training rows, trained on the rest; a fifth of the devices."""
    z, y = [], []
    for number in range(0, len(bench.population.devices), 5):
        rows = bench.population.devices[number]
        cut = math.ceil(0.75 * len(rows))
        if cut < len(rows):
            start = bench.learner.start
            weights = start + bench.learner.train(rows[:cut], start, setting, [bench.seed, number])
            z.append(bench.learner.logits(rows[cut:], weights))
            y.append(bench.population.labels[rows[cut:]])
    return log_loss(np.concatenate(z), np.concatenate(y))


def _on_own_rows(bench: Bench, shared: Weights, own_logits: OwnLogits) -> NDArray[np.float32]:
    """Logits of all judged rows; those of people who train by weights of their own."""
    population = bench.population
    judged = population.judged_rows
    logits = bench.learner.logits(judged, shared).copy()
    whose = bench.world.rows.person[judged]
    for number, person in enumerate(population.persons):
        own = np.flatnonzero(whose == person)
        if len(own):
            logits[own] = own_logits(number, judged[own])
    return logits


# -- federated methods ---------------------------------------------------------------------------------------------


def fedavg() -> Algorithm:
    """The coordinator's defaults."""
    optimizer = SETTINGS.optimizer
    return Algorithm(
        Steps(LOCAL), make_optimizer(optimizer), optimizer.prior_weight, weight_cap=SETTINGS.training.weight_cap
    )


def _algorithms(devices: int) -> dict[str, Algorithm]:
    base = fedavg()
    sent = Bundle.shipped().dimension
    # So fine that rounding adds little to what one device can change.
    private = CodecTarget(clip=PRIVATE_CLIP, step=PRIVATE_CLIP / (2 * math.sqrt(sent)))
    noise = noise_sixteenths_for(private.clip / private.step, sent, NOISE_MULTIPLIER, devices)
    return {
        "fedavg": base,
        "fedavg_plain": replace(base, server=Averaging(1.0), prior_weight=0.0),
        "fedprox": replace(base, local=Steps(replace(LOCAL, proximal=0.1))),
        "fedavg_adam": replace(base, server=Adam(0.03), prior_weight=0.0),
        "fedavg_compressed": replace(base, channel=Coded(SETTINGS.codec, devices)),
        "fedavg_private": replace(base, channel=Coded(private, devices, noise)),
    }


def _federated(name: str) -> Callable[[Bench], tuple[NDArray[np.float32], dict[str, Any]]]:
    def score(bench: Bench) -> tuple[NDArray[np.float32], dict[str, Any]]:
        algorithm = _algorithms(bench.devices)[name]
        logits, extra = _train_and_score(algorithm, name, bench)
        return logits, extra | _privacy(algorithm.channel, len(bench.learner.start), bench)

    return score


def _privacy(channel: Channel, dimension: int, bench: Bench) -> dict[str, Any]:
    """What a noisy channel guarantees a device, whichever rounds it is in: all of them are charged, by the accountant.

    Nothing is claimed for the drawing of cohorts.
    """
    if not isinstance(channel, Coded) or not channel.noise_sixteenths:
        return {}
    setting = channel.setting(dimension)
    bound = rounded_norm_bound(setting.clip / setting.step, setting.sent)
    rho = sum_rho(bound, setting.sent, setting.noise_sixteenths / SIXTEENTHS, bench.devices)
    delta = SETTINGS.privacy.delta
    return {"rho_a_round": rho, "delta": delta, "epsilon": accounted_epsilon([rho] * bench.rounds, delta)}


def _train_and_score(algorithm: Algorithm, name: str, bench: Bench) -> tuple[NDArray[np.float32], dict[str, Any]]:
    run, curve = train_resumably(algorithm, name, bench, bench.population)
    logits = bench.learner.logits(bench.population.judged_rows, run.weights)
    dimension = len(bench.learner.start)
    up = algorithm.channel.bytes_up(dimension)
    return logits, {
        "rounds": curve,
        "bytes_up_a_device": up,
        "bytes_a_round": bench.devices * (up + 4 * dimension),
    }


def train_resumably(
    algorithm: Algorithm, name: str, bench: Bench, population: Population
) -> tuple[Run, list[dict[str, float]]]:
    """Train for ``bench.rounds`` rounds, judged after each, going on from what is kept of an earlier run."""
    path = bench.folder / f"{name}-{bench.seed}.run"
    run, curve = _load(path, bench.rounds)

    def note(now: Run) -> None:
        judged = population.judged.judge(bench.learner.logits(population.judged_rows, now.weights))
        curve.append({"round": now.rounds, **{key: judged[key] for key in ("auc", "ctr_at_90", "log_loss")}})
        if now.rounds % CHECKPOINT_ROUNDS == 0 or now.rounds == bench.rounds:
            _save(path, now, curve)
        bench.progress(now.rounds, bench.rounds)

    done = train(algorithm, bench.learner, population, bench.devices, bench.rounds, bench.seed, run, note)
    return done, curve


def _save(path: Path, run: Run, curve: list[dict[str, float]]) -> None:
    content = (run.weights.tobytes(), run.state.encode(), run.rounds, curve)
    write_atomically(path, msgspec.msgpack.encode(content))


def _load(path: Path, rounds: int) -> tuple[Run | None, list[dict[str, float]]]:
    try:
        weights, state, done, curve = msgspec.msgpack.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, ValueError):
        return None, []
    if done > rounds:
        return None, []
    return Run(np.frombuffer(weights, np.float32).copy(), OptimizerState.decode(state), done), curve


def _fedsgd(bench: Bench) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """FedSGD with the server step that does best on the inner split, the same momentum as FedAvg's server.

    A step is judged by its mean AUC over the second half of the rounds. By the last round alone one may win that is too
    long and swings, and happens to stand well just then; on other people it need not.
    """
    shelf = Shelf(bench.folder)
    base = replace(
        fedavg(),
        prior_weight=0.0,
        server=make_optimizer(msgspec.structs.replace(SETTINGS.optimizer, learning_rate=1.0)),
    )
    name = f"fedsgd-steps-{bench.devices}-{bench.rounds}"
    found: dict[str, float] = shelf.get(name) or {}

    def quality(step: float) -> float:
        key = f"{step:.6g}"
        if key not in found:
            curve: list[float] = []

            def note(run: Run) -> None:
                if 2 * run.rounds > bench.rounds:
                    logits = np.nan_to_num(bench.learner.logits(bench.inner.judged_rows, run.weights))
                    curve.append(bench.inner.judged.judge(logits)["auc"])

            with np.errstate(all="ignore"):
                algorithm = replace(base, local=Gradient(step))
                train(algorithm, bench.learner, bench.inner, bench.devices, bench.rounds, seed=10_000, after_round=note)
            found[key] = float(np.mean(curve))
            shelf.put(name, found)
        return found[key]

    best, inside, tried = tuned(quality, STEP_GRID)
    logits, extra = _train_and_score(replace(base, local=Gradient(best)), f"fedsgd-{best:.6g}", bench)
    return logits, extra | {"step": best, "step_inside_grid": inside, "inner_auc_by_step": tried}


def _fedavg_personalised(bench: Bench) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """FedAvg's last model, and on each device its owner's taste on top, where that foresaw their offers better."""
    run, _ = train_resumably(fedavg(), "fedavg", bench, bench.population)

    def own(number: int, later: Index) -> NDArray[np.floating]:
        return personal_logits(bench.learner, bench.population, number, run.weights, later)

    return _on_own_rows(bench, run.weights, own), {}


def personal_logits(
    learner: Learner, population: Population, number: int, shared: Weights, later: Index, *, each_night: bool = True
) -> NDArray[np.floating]:
    """Logits of ``later`` for the owner of device ``number``: the shared model, and the owner's taste on top.

    Args:
        each_night: the taste is inferred anew every night, as a device does, from the training days and the later
            days before; if not, from the training days alone.
        later: rows in the order of time.
    """
    rows = population.world.rows
    logits = learner.logits(later, shared).copy()
    day = (rows.time[later] // _DAY_S if each_night else np.zeros(len(later))).astype(np.int64)
    for today in np.unique(day):
        before = later[(day < today) & rows.shown[later]]
        known = np.concatenate([population.devices[number], before])
        taste = infer_taste(learner.logits(known, shared), rows.tapped[known], _categories(population, known))
        if taste.kept:
            now = day == today
            logits[now] = adjust(logits[now], _categories(population, later[now]), taste.multipliers)
    return logits


def _categories(population: Population, rows: Index) -> list[str]:
    names = population.world.categories
    return [names[number] for number in population.world.rows.category[rows]]


_SCORERS: Mapping[str, Callable[[Bench], tuple[NDArray[Any], dict[str, Any]]]] = {
    "v0": _v0,
    "oracle": _oracle,
    "oracle_among_strangers": _oracle_among_strangers,
    "popularity": _popularity,
    "centralised": _centralised,
    "local_only": _local_only,
    "fedsgd": _fedsgd,
    "fedavg": _federated("fedavg"),
    "fedavg_plain": _federated("fedavg_plain"),
    "fedprox": _federated("fedprox"),
    "fedavg_adam": _federated("fedavg_adam"),
    "fedavg_personalised": _fedavg_personalised,
    "fedavg_compressed": _federated("fedavg_compressed"),
    "fedavg_private": _federated("fedavg_private"),
}
METHODS = ("reference", *_SCORERS)
