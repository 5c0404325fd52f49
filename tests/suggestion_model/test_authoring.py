"""Authoring reads text and nothing else, and makes the same from the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from keyboard_app.simulation.splits import is_held_out as held_out_by_the_simulation
from suggestion_model.authoring import calibration
from suggestion_model.authoring.corpus import QUERIES, REPLAYS, UTTERANCES, is_held_out, read_corpus, read_turns
from suggestion_model.authoring.embedding import embed_pieces
from suggestion_model.authoring.encoder import pretrain
from suggestion_model.authoring.pieces import train_tokenizer
from suggestion_model.cli import main
from suggestion_model.errors import CorpusError
from suggestion_model.features import BASELINE_INDEX, DENSE_FEATURES
from suggestion_model.tokenizer import PAD_ID, Tokenizer

PLACES = ("oakland", "berkeley", "san jose", "napa", "fresno")
FOODS = ("thai", "mexican", "italian", "greek")


def _lines() -> list[dict[str, object]]:
    people = [name for name in (f"p{i}" for i in range(40)) if not is_held_out(name)][:10]
    rows = []
    for number in range(120):
        food, place = FOODS[number % 4], PLACES[number % 5]
        rows.append(
            {
                "user": people[number % 10],
                "conversation": f"c{number // 2}",
                "timestamp": f"2026-03-{1 + number // 12:02d}T10:{number % 60:02d}:00+00:00",
                "text": f"I am looking for {food} food in {place}." if number % 2 == 0 else "Great, thank you so much!",
                "reply_to": "What would you like?" if number % 2 == 0 else f"I found 3 {food} restaurants in {place}.",
                "kind": "task",
                "wanted": [f"SECRETLABEL {food}"],
                "soon": ["SECRETSOON"],
                "topic": "SECRETTOPIC",
            }
        )
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data directory in the form of the real one."""
    files = {
        REPLAYS[0]: _lines(),
        **{
            name: [{"text": f"play some {f} music", "source": "s", "intent": "Play"} for f in FOODS]
            for name in UTTERANCES
        },
        QUERIES[0]: [{"query": f"where to eat in {p}"} for p in PLACES],
    }
    for name, rows in files.items():
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return tmp_path


def test_labels_never_enter_the_corpus(data: Path) -> None:
    corpus = read_corpus(data)
    assert corpus.turns
    assert "SECRET" not in repr(corpus)


def test_turns_know_what_came_before_and_what_was_answered(data: Path) -> None:
    turns = read_turns(data / REPLAYS[0])
    assert turns[0].earlier == ("What would you like?",)
    assert turns[0].following.startswith("I found 3")
    assert turns[1].earlier == ("What would you like?", turns[0].text, turns[0].following)
    assert turns[1].following == ""


def test_held_back_people_and_days_are_not_read(data: Path) -> None:
    turns = read_turns(data / REPLAYS[0])
    assert max(turn.when.day for turn in turns) == 6  # the replay ends on the tenth
    assert 0 < len(turns) < 120


def test_everybody_means_the_same_people_by_held_out() -> None:
    names = [f"person-{i}" for i in range(500)]
    assert [is_held_out(n) for n in names] == [held_out_by_the_simulation(n) for n in names]


@pytest.mark.parametrize("broken", ["{not json", '{"text": 1}', '"text"'])
def test_a_broken_line_is_named_by_number_and_never_quoted(data: Path, broken: str) -> None:
    with gzip.open(data / UTTERANCES[1], "at", encoding="utf-8") as file:
        file.write(broken + "\n")
    with pytest.raises(CorpusError, match=rf"{UTTERANCES[1]}, line 5") as caught:
        read_corpus(data)
    assert broken not in str(caught.value)


def test_a_missing_file_is_an_error_on_one_line(tmp_path: Path, data: Path) -> None:
    (data / QUERIES[0]).unlink()
    with pytest.raises(CorpusError, match="--data"):
        read_corpus(data)


def test_building_without_a_catalog_says_how_to_make_it(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["build", "--data", str(data), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "catalog.json.gz" in result.output


def test_tokenizer_embedding_and_encoder_are_reproducible(data: Path) -> None:
    corpus = read_corpus(data)
    models = [train_tokenizer(corpus.texts(), 55) for _ in range(2)]
    assert models[0] == models[1]
    tokenizer = Tokenizer(models[0])
    assert PAD_ID not in tokenizer.ids("looking for thai food")
    rows = [embed_pieces(corpus, tokenizer, 8, np.random.default_rng(0)) for _ in range(2)]
    assert np.array_equal(rows[0], rows[1])
    assert not rows[0][PAD_ID].any()
    assert np.isfinite(rows[0]).all()
    trained = [pretrain(corpus.turns * 12, tokenizer, rows[0], seed=3) for _ in range(2)]
    assert np.array_equal(trained[0].embedding, trained[1].embedding)
    assert np.array_equal(trained[0].output, trained[1].output)
    assert not np.array_equal(trained[0].embedding, rows[0])


def test_the_threshold_lets_the_stated_share_of_lines_through() -> None:
    scores = np.random.default_rng(0).random(4000)
    rows = np.zeros((4000, DENSE_FEATURES), np.float32)
    rows[:, BASELINE_INDEX] = scores
    found = calibration.calibrate(rows, scores)
    assert (scores > found.threshold_score).mean() == pytest.approx(calibration.OFFER_SHARE, abs=1e-3)
    assert found.threshold_logit == pytest.approx(calibration.CENTRE_LOGIT)
    assert (found.deviation > 0).all()


def test_calibration_survives_text_without_any_candidate() -> None:
    found = calibration.calibrate(np.zeros((0, DENSE_FEATURES), np.float32), np.zeros(50))
    assert np.isfinite([found.slope, found.intercept, found.threshold_logit]).all()
