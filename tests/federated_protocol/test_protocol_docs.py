"""docs/protocol.md shows the tables that are in force, and docs/threat-model.md names tests that exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_diagrams_are_those_of_the_transition_tables() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "diagrams.py"))
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    assert script["drawn"](text) == text, "run: python scripts/diagrams.py"


def test_the_table_of_parameters_is_what_is_solved() -> None:
    from federated_protocol.plan import ThreatModel
    from federated_protocol.secure_aggregation import solve

    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    for percent in (10, 30):
        (row,) = re.findall(rf"\| δ {percent} %.*\|", text)
        found = [tuple(map(int, pair)) for pair in re.findall(r"k (\d+), t (\d+)", row)]
        solved = [solve(n, ThreatModel(dropout=percent / 100)) for n in (100, 1000)]
        assert found == [(s.neighbours, s.threshold) for s in solved]


def test_every_message_of_a_round_is_described() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    sent = "CheckIn SignedMessage KeyAdvertisement EncryptedShares MaskedInput Confirmation Unmasking"
    answered = "Selected ComeBack UpgradeRequired PlanAnswer Roster Mailbox Survivors Confirmations Finished"
    for name in f"{sent} {answered}".split():
        assert f"`{name}" in text


def test_the_threat_model_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    named = set(re.findall(r"`(?:tests/(?:\w+/)+)?(test_\w+\.py)`", text))
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert named
    assert named <= there


def test_the_threat_model_quotes_tests_by_their_beginnings() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    rows = [line.split("|")[3] for line in text.splitlines() if line.startswith("| ") and line.count("|") >= 4]
    quoted = [name for shown_by in rows for name in re.findall(r"\*([^*]+)\*", shown_by)]
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def test_(\w+)", path.read_text("utf-8"))
    }
    assert len(quoted) > 20
    for name in quoted:
        beginning = re.sub(r"[^a-z0-9]+", "_", name.lower().replace("'", ""))
        assert any(test.startswith(beginning) for test in there), name
