"""The laboratory end to end on a handful of people, and what its parts promise."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.__main__ import main
from benchmarks._workers import Workers
from benchmarks.learning.cache import Shelf, digest_of
from benchmarks.learning.federated import Algorithm, Clear, Coded, Gradient, Run, Steps, train
from benchmarks.learning.judging import METRICS
from benchmarks.learning.learners import HeadLearner, ranker_learner
from benchmarks.learning.linear_head import linear_head
from benchmarks.learning.page import page
from benchmarks.learning.personalisation import judge_personalisation
from benchmarks.learning.population import Index, Population
from benchmarks.learning.reference import PlainBm25
from benchmarks.learning.typing_stage import Typed, TypingStage
from benchmarks.learning.worlds import World
from coordinator.aggregation.cluster import Cluster
from coordinator.aggregation.optimizers import OptimizerState
from coordinator.settings import CodecTarget
from keyboard_app.simulation.people import shipped_replay
from keyboard_app.simulation.splits import is_held_out, outline
from keyboard_app.simulation.typist import TypistSetting
from suggestion_model.bundle import Bundle
from suggestion_model.features import DENSE_NAMES, HABIT_FEATURES
from suggestion_model.model_card import as_markdown
from suggestion_model.runtime import Ranker
from suggestion_model.training import LocalSetting
from suggestion_model.types import Context, Example, RankerInputs

FEW = 8


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fourth conversation of a few people of the shipped replay: enough for every path, typed in a second."""
    users = sorted(outline(shipped_replay()).lines)
    few = {user for user in users if is_held_out(user)}
    few = set(sorted(few)[:3]) | set([user for user in users if user not in few][: FEW - 3])
    path = tmp_path_factory.mktemp("replay") / "few.jsonl"
    with gzip.open(shipped_replay(), "rt", encoding="utf-8") as source, path.open("w", encoding="utf-8") as out:
        for text in source:
            line = json.loads(text)
            if line["user"] in few and int(digest_of(line["conversation"]), 16) % 3 == 0:
                out.write(text)
    return path


@pytest.fixture(scope="module")
def catalog(replay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What these people want, as a query list."""
    path = tmp_path_factory.mktemp("catalog") / "queries.csv"
    lines = [json.loads(text) for text in replay.read_text(encoding="utf-8").splitlines()]
    queries = sorted({(query, line.get("topic") or "any") for line in lines for query in line.get("wanted", [])})
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("query", "category"), *dict(queries).items()])
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def typed(replay: Path, catalog: Path, cache: Path) -> Typed:
    typist = TypistSetting()
    return TypingStage(replay, catalog, cache, Workers(1)).type([World(typist), World(typist, policy="field")])


@pytest.fixture(scope="module")
def population(typed: Typed) -> Population:
    return Population(typed.worlds[World(TypistSetting())])


@pytest.fixture(scope="module")
def learner(population: Population) -> HeadLearner:
    return ranker_learner(population)


def test_nothing_that_is_judged_was_trained_on(population: Population) -> None:
    rows, world = population.world.rows, population.world
    trained = np.concatenate(population.devices)
    assert not set(trained.tolist()) & set(population.judged_rows.tolist())
    assert not any(is_held_out(world.users[person]) for person in rows.person[trained])
    assert rows.time[trained].max() < rows.time.max() - 4 * 86_400 + 1


def test_the_inner_split_never_sees_a_judged_row(population: Population) -> None:
    inner = Population(population.world, inner=True)
    seen = set(np.concatenate(inner.devices).tolist()) | set(inner.judged_rows.tolist())
    assert not seen & set(population.judged_rows.tolist())
    assert not set(np.concatenate(inner.devices).tolist()) & set(inner.judged_rows.tolist())


def test_showing_always_leaves_nothing_withheld_but_what_was_too_young(typed: Typed) -> None:
    always = typed.worlds[World(TypistSetting())].rows
    field = typed.worlds[World(TypistSetting(), policy="field")].rows
    assert always.shown.mean() > 0.9
    assert (always.propensity == 1).all()
    assert field.shown.mean() < always.shown.mean()
    assert field.propensity.min() < 0.2


def test_typing_goes_on_where_it_was_killed(replay: Path, catalog: Path, typed: Typed, tmp_path: Path) -> None:
    world = World(TypistSetting())
    stage = TypingStage(replay, catalog, tmp_path, Workers(1))
    folder = tmp_path / "typed" / stage.key(world)
    said: list[int] = []

    class KilledError(Exception):
        pass

    def kill(done: int, all_: int) -> None:
        said.append(done)
        if done:
            raise KilledError

    with pytest.raises(KilledError):
        stage.type([world], kill)
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("chunk-*.npz")}
    assert kept
    found = stage.type([world]).worlds[world]
    same = typed.worlds[world]
    for name in ("person", "time", "tapped", "probability", "baseline"):
        assert np.array_equal(getattr(found.rows, name), getattr(same.rows, name))
    assert all(np.array_equal(found.examples[name], same.examples[name]) for name in same.examples)


def test_topics_that_are_left_out_are_judged_and_never_trained_on(population: Population) -> None:
    topic = population.world.rows.topic
    chosen = frozenset({int(np.bincount(topic[population.judged_rows]).argmax())})
    part = Population(population.world, left_out=chosen)
    assert set(topic[part.judged_rows].tolist()) == chosen
    assert not set(topic[np.concatenate(part.devices)].tolist()) & chosen
    assert set(part.judged_rows.tolist()) <= set(population.judged_rows.tolist())


def test_a_stranger_is_all_the_ranker_ever_sees(population: Population) -> None:
    habits = [DENSE_NAMES.index(name) for name in HABIT_FEATURES]
    assert not np.asarray(population.world.examples["dense"])[:, habits].any()


def test_no_order_of_the_lines_beats_the_oracle(population: Population) -> None:
    judged = population.judged
    best = judged.judge(judged.probability)
    for scores in (population.world.rows.baseline[population.judged_rows], np.arange(len(judged.probability))):
        found = judged.judge(np.asarray(scores, np.float64))
        assert found["auc"] <= best["auc"]
        assert found["ctr_at_90"] <= best["ctr_at_90"] + 1e-9


def test_the_gradient_is_the_slope_of_the_loss(population: Population, learner: HeadLearner) -> None:
    rows = population.devices[0][:40]
    loss, gradient = learner.loss_and_gradient(rows, learner.start)
    direction = np.random.default_rng(0).normal(size=len(gradient))
    direction /= np.linalg.norm(direction)
    step = 1e-2
    further = learner.loss_and_gradient(rows, (learner.start + step * direction).astype(np.float32))[0]
    before = learner.loss_and_gradient(rows, (learner.start - step * direction).astype(np.float32))[0]
    assert (further - before) / (2 * step) == pytest.approx(float(gradient @ direction), rel=0.02, abs=1e-5)
    assert before > 0
    assert loss > 0


def test_heads_that_ship_are_scored_as_one_matrix_like_the_model_file(population: Population) -> None:
    bundle = Bundle.shipped()
    ranker = Ranker(bundle)
    columns = population.world.examples
    examples = [
        Example(**{name: column[row] for name, column in columns.items()}, label=0.0, weight=1.0) for row in range(80)
    ]
    rows = ranker.head_rows(examples)
    before = {name: values.copy() for name, values in rows.inputs.items()}
    matrix = linear_head(ranker.head, rows)
    assert matrix is not None
    assert all(np.array_equal(rows.inputs[name], before[name]) for name in before)
    inputs = RankerInputs(**{name: np.asarray(columns[name][:80]) for name in RankerInputs.__annotations__})
    assert np.allclose(matrix.times(bundle.weights0), ranker.scores(inputs), atol=1e-4)
    values = np.linspace(-1, 1, 80, dtype=np.float32)
    each = np.array([matrix.take(np.array([row])).transposed_times(np.ones(1, np.float32)) for row in range(80)])
    assert np.allclose(matrix.transposed_times(values), values @ each, atol=1e-3)


def test_one_step_on_everything_is_fedsgd(population: Population, learner: HeadLearner) -> None:
    rows = population.devices[0][:16]
    setting = LocalSetting(epochs=1, batch_size=16, learning_rate=0.05)
    given = Run(learner.start, OptimizerState(), 0)
    one_step = Steps(setting).update(learner, rows, given, [0])
    gradient = Gradient(0.05).update(learner, rows, given, [0])
    assert np.allclose(one_step, gradient, atol=1e-6)


def test_training_goes_on_as_if_it_had_never_stopped(population: Population, learner: HeadLearner) -> None:
    algorithm = Algorithm(Steps(LocalSetting(1, 16, 0.05)))
    whole = train(algorithm, learner, population, 3, 4, seed=1)
    half = train(algorithm, learner, population, 3, 2, seed=1)
    assert np.array_equal(train(algorithm, learner, population, 3, 4, seed=1, run=half).weights, whole.weights)


def test_the_codec_changes_a_sum_by_no_more_than_its_rounding(population: Population, learner: HeadLearner) -> None:
    clear = Algorithm(Steps(LocalSetting(2, 16, 0.02)))
    target = CodecTarget(clip=5.0, step=0.001)
    coded = replace(clear, channel=Coded(target, 3))
    weights = [train(each, learner, population, 3, 1, seed=1).weights for each in (clear, coded)]
    error = np.linalg.norm(weights[0] - weights[1])
    assert 0 < error < 5 * target.step * np.sqrt(len(weights[0]))
    assert coded.channel.bytes_up(205) < Clear().bytes_up(205)


def test_the_reference_is_plain() -> None:
    source = PlainBm25([("thai food in oakland", "food"), ("weather in oakland", "weather"), ("cinema", "film")])
    assert [found.query for found in source.candidates(Context("thai in oakland?"), 2)] == [
        "thai food in oakland",
        "weather in oakland",
    ]
    assert source.candidates(Context("hello there", ("thai food",)), 8) == []


def test_a_shelf_forgets_what_it_cannot_read(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put("a", {"b": 1.5})
    assert shelf.get("a") == {"b": 1.5}
    (tmp_path / "a.json").write_text("{")
    assert shelf.get("a") is shelf.get("never") is None


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["learning", *arguments, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_one_command_reports_every_method(
    replay: Path, catalog: Path, cache: Path, typed: Typed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--replay", str(replay), "--catalog", str(catalog), "--cache", str(cache), "--processes", "1"]
    arguments += ["--devices", "4", "--rounds", "2", "--seeds", "1", "--methods"]
    arguments += ["reference,v0,oracle,oracle_among_strangers,popularity,fedavg"]
    found = run(arguments, capsys)
    methods = found["methods"]
    assert isinstance(methods, dict)
    assert set(methods) == {"reference", "v0", "oracle", "oracle_among_strangers", "popularity", "fedavg"}
    for values in methods.values():
        assert set(values) == set(METRICS)
        assert all(set(value) == {"mean", "low", "high"} for value in values.values())
        assert values["clicks_retained"]["mean"] >= 0.9
    assert 0 < float(str(found["recall_at_8"])) <= float(str(found["coverage"])) <= 1
    assert methods["oracle"]["auc"]["mean"] > methods["oracle_among_strangers"]["auc"]["mean"]
    assert methods["oracle_among_strangers"]["auc"]["mean"] > methods["fedavg"]["auc"]["mean"]
    slices = found["slices"]
    assert isinstance(slices, dict)
    assert set(slices) == set(methods)
    assert {"chat", "task"} <= set(slices["fedavg"]["kind"])
    for text in (page(found, "few", tmp_path), as_markdown(Bundle.shipped(), found)):
        assert "kind: chat" in text
        assert "recall@8" in text
    again = run(arguments, capsys)
    assert again["methods"] == methods


def flat(results: Any, path: str = "") -> dict[str, Any]:
    """Figures by their path."""
    if not isinstance(results, dict):
        return {path: results}
    return {key: value for name, part in results.items() for key, value in flat(part, f"{path}/{name}").items()}


def test_a_cluster_finds_what_this_machine_finds(
    replay: Path, catalog: Path, cache: Path, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--replay", str(replay), "--catalog", str(catalog), "--devices", "4", "--rounds", "2", "--seeds", "1"]
    arguments += ["--methods", "v0,popularity,fedavg"]
    here = run([*arguments, "--cache", str(cache), "--processes", "1"], capsys)
    files = ["--tls-ca-file", cluster.authority, "--tls-cert", cluster.certificate, "--tls-key", cluster.key]
    there = run([*arguments, "--cache", str(tmp_path), "--cluster", cluster.scheduler, *files], capsys)
    assert flat(there["methods"]) == pytest.approx(flat(here["methods"]), rel=1e-6)  # floats of other processes
    assert there["recall_at_8"] == here["recall_at_8"]


def test_perfect_knowledge_of_taste_is_the_upper_end(population: Population, learner: HeadLearner) -> None:
    """The shared model itself goes none of the way; whoever is told the truth goes further than all of it."""
    probability = population.world.rows.probability

    def shared(number: int, later: Index) -> NDArray[np.floating]:
        return learner.logits(later, learner.start)

    def truth(number: int, later: Index) -> NDArray[np.floating]:
        return np.log(probability[later] / (1 - probability[later]))

    nothing = judge_personalisation(learner, population, learner.start, shared, 3)
    everything = judge_personalisation(learner, population, learner.start, truth, 3)
    assert nothing["people"] == everything["people"] > 0
    assert nothing["relative_change_log_loss"] == nothing["people_worse_log_loss"] == 0
    assert everything["auc"]["personal"] > everything["auc"]["shared"]
    assert everything["log_loss"]["personal"] < everything["log_loss"]["perfect"]


def test_studies_type_worlds_of_their_own(
    replay: Path, catalog: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--replay", str(replay), "--catalog", str(catalog), "--cache", str(cache), "--processes", "1"]
    arguments += ["--devices", "3", "--rounds", "1", "--seeds", "1", "--methods"]
    arguments += ["selection_bias,personalisation,unseen_topics"]
    found = run(arguments, capsys)
    studies = found["studies"]
    assert isinstance(studies, dict)
    assert "topics left out" in page(found, "few", tmp_path)
    assert set(studies["selection_bias"]["without"]) == set(studies["selection_bias"]["with_propensities"])
    assert 0 < studies["selection_bias"]["by_chance"] < studies["selection_bias"]["offered"] < 1
    assert set(studies["personalisation"]) == {"strong", "without_tastes"}
    folds = studies["unseen_topics"]["folds"]
    assert sum(fold["lines"] for fold in folds) == studies["unseen_topics"]["together"]["lines"] > 0
    named = [topic for fold in folds for topic in fold["topics"]]
    assert len(named) == len(set(named)) > 0


def test_mistakes_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learning", "--replay", str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl" in capsys.readouterr().err
    assert main(["learning", "--methods", "magic", "--cache", str(tmp_path)]) == 1
    assert "magic" in capsys.readouterr().err
