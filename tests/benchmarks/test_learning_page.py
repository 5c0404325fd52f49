"""Tables and charts show what was found, and say where nothing was."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks.learning.page import page
from benchmarks.learning.plots import line_chart
from benchmarks.learning.utterance_replay import make_rows


def test_a_chart_draws_every_line_and_names_it() -> None:
    root = ElementTree.fromstring(line_chart("a & b", "x", "y", {"one": [(0, 0), (1, 2)], "two": [(0, 1), (1, 1)]}))
    lines = [part for part in root if part.tag.endswith("polyline")]
    names = [part.text for part in root if part.tag.endswith("text")]
    assert len(lines) == 2
    assert {"a & b", "one", "two"} <= set(names)


def test_a_chart_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="point"):
        line_chart("", "", "", {"one": []})


def test_a_page_tells_means_with_half_widths_and_what_was_not_reached(tmp_path: Path) -> None:
    keys = ("auc", "log_loss", "ctr_at_90", "impressions_retained", "clicks_retained", "offers_on_chat")
    value = {"mean": 0.5, "low": 0.4, "high": 0.6}
    never = {"mean": None, "low": None, "high": None}
    found = {
        "methods": {"fedavg": dict.fromkeys(keys, value)},
        "gains": {"fedavg": {"auc_gain": value, "ctr_gain": value}},
        "rounds_to_target": {"fedavg": {"auc": never, "ctr_at_90": value}},
        "bytes_to_target": {"fedavg": {"auc": never, "ctr_at_90": value}},
        "curves": {"fedavg": [{"clicks_retained": 0.5, "ctr_at_90": 0.4}, {"clicks_retained": 1.0, "ctr_at_90": 0.1}]},
        "by_round": {"fedavg": [{"round": 1, "auc": 0.8}, {"round": 2, "auc": 0.9}]},
    }
    text = page(found, "tiny", tmp_path)
    assert "0.5000 ± 0.1000" in text
    assert "not reached" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results-tiny-rounds.svg", "results-tiny-trade-off.svg"]


def test_a_replay_of_utterances_is_sorted_and_only_wishes_want() -> None:
    utterances = [
        {"text": "weather in lund", "intent": "GetWeather", "next_query": "weather lund"},
        {"text": "book a pub", "intent": "BookRestaurant", "next_query": "pub"},
        {"text": "lights off", "intent": "iot_off"},
        {"text": "well done", "intent": "general_praise"},
    ]
    rows = make_rows(utterances, people=4)
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)
    assert {tuple(row["wanted"]) for row in rows} == {(), ("weather lund",), ("pub",)}
    assert all(not row["wanted"] for row in rows if row["kind"] == "chat")
    assert make_rows(utterances, people=4) == rows
