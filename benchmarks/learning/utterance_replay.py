"""A replay from other sources: assistant commands as typed lines, with other services, places and phrasing.

``python -m benchmarks.learning.utterance_replay --utterances FILE... --out REPLAY --catalog CATALOG`` reads JSON lines
with ``text``, ``intent``, ``domain`` and, where the utterance leads to a search, ``next_query`` (as made of the SNIPS
benchmark, CC0, and of NLU Evaluation Data, CC BY 4.0), and deals them to people with tastes of their own. It is for
seeing whether what was learned from one replay's world holds in another; nothing was tuned on it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from keyboard_app.simulation.make_replay import encode
from keyboard_app.simulation.people import texts

PEOPLE = 300
DAYS = 14
START = datetime(2026, 9, 7, tzinfo=UTC)
SMALL_TALK = "general"
"""Domain of utterances that are small talk with the assistant."""
_WISHES, _COMMANDS = 0.3, 0.35
"""Shares of conversations that lead to a search, and that order something else about; the rest is chat."""


class Pool:
    """Utterances of one sort, dealt in random order, again and again."""

    def __init__(self, rng: Random, utterances: Sequence[dict[str, Any]]) -> None:
        self._rng, self._all, self._left = rng, list(utterances), list[dict[str, Any]]()

    def draw(self) -> dict[str, Any]:
        """The next one."""
        if not self._left:
            self._left = self._rng.sample(self._all, len(self._all))
        return self._left.pop()


def make_rows(utterances: Sequence[dict[str, Any]], people: int = PEOPLE, seed: int = 0) -> list[dict[str, Any]]:
    """All lines of the replay, sorted by time."""
    rng = Random(f"utterances/{seed}")
    wishes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    commands: dict[str, list[dict[str, Any]]] = defaultdict(list)
    talk = []
    for utterance in utterances:
        if utterance.get("next_query"):
            wishes[utterance["intent"]].append(utterance)
        elif utterance["intent"].startswith(SMALL_TALK):
            talk.append(utterance)
        else:
            commands[utterance["intent"]].append(utterance)
    pools = (
        {intent: Pool(rng, found) for intent, found in sorted(wishes.items())},
        {intent: Pool(rng, found) for intent, found in sorted(commands.items())},
        Pool(rng, talk),
    )
    rows = [row for number in range(people) for row in _person(number, rng, *pools)]
    return sorted(rows, key=lambda row: str(row["timestamp"]))


def _person(
    number: int, rng: Random, wishes: dict[str, Pool], commands: dict[str, Pool], talk: Pool
) -> Iterator[dict[str, Any]]:
    user = f"utterances-{hashlib.sha256(f'people {number}'.encode()).hexdigest()[:8]}"
    liking = [rng.gammavariate(0.5, 1.0) for _ in wishes]
    chatter = [line for lines in texts().chatter.values() for line in lines if "{" not in line]
    for _ in range(max(6, round(rng.lognormvariate(3.2, 0.7)))):
        kind, topic, lines = "task", "commands", list[tuple[str, list[str]]]()
        drawn = rng.random()
        if drawn < _WISHES:
            topic = rng.choices(list(wishes), liking)[0]
            if rng.random() < 0.4:
                lines.append((rng.choice(texts().small), []))
            for _ in range(rng.choice((1, 1, 2))):
                utterance = wishes[topic].draw()
                lines.append((utterance["text"], [utterance["next_query"]]))
            lines.append((talk.draw()["text"], []))
        elif drawn < _WISHES + _COMMANDS:
            pool = commands[rng.choice(list(commands))]
            lines = [(pool.draw()["text"], []) for _ in range(rng.randint(1, 4))]
        else:
            kind, topic = "chat", "chat"
            lines = [
                (talk.draw()["text"] if rng.random() < 0.3 else rng.choice(chatter), [])
                for _ in range(rng.randint(2, 6))
            ]
        yield from _dated(user, rng, kind, topic, lines)


def _dated(
    user: str, rng: Random, kind: str, topic: str, lines: Sequence[tuple[str, list[str]]]
) -> Iterator[dict[str, Any]]:
    moment = START + timedelta(days=rng.randrange(DAYS), hours=rng.randint(7, 22), seconds=rng.randrange(3000))
    conversation = f"{rng.getrandbits(48):012x}"
    for at, (text, wanted) in enumerate(lines):
        moment += timedelta(seconds=rng.randint(8, 75))
        row: dict[str, Any] = {
            "user": user,
            "conversation": conversation,
            "timestamp": moment.isoformat(),
            "text": text,
            "kind": kind,
            "wanted": wanted,
            "topic": topic,
        }
        if soon := [query for _, later in lines[at + 1 : at + 3] for query in later]:
            row["soon"] = soon
        yield row


def main() -> None:
    """Write the replay and its query list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="the replay, .jsonl.gz")
    parser.add_argument("--catalog", type=Path, required=True, help="its query list, .csv.gz")
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    utterances = [
        json.loads(line) for path in options.utterances for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    options.out.write_bytes(encode(make_rows(utterances, options.people, options.seed)))
    queries = {each["next_query"]: each["intent"] for each in utterances if each.get("next_query")}
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("query", "category"), *sorted(queries.items())])
    options.catalog.write_bytes(gzip.compress(out.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    main()
