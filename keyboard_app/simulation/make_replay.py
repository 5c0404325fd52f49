"""Make the replay that ships: ``python -m keyboard_app.simulation.make_replay [--out FILE] [--seed S] [--people N]``.

Forty people with tastes of their own write for fourteen days. A conversation is chatter, an errand, or a topic that
leads to a search; people come back to the topics they like, so that a personal taste can be learned. About one line in
ten wants a query. The same seed gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import click

from keyboard_app.simulation.people import Texts, Topic, shipped_replay, texts

PEOPLE = 40
DAYS = 14
LINES_EACH = (60, 100)
START = datetime(2026, 5, 4, tzinfo=UTC)
SOON_LINES = 2
"""A query is wanted soon on this many lines before the one that wants it."""

_QUESTION_WORDS = frozenset(("what", "when", "where", "which", "who", "how", "is", "are", "do", "does", "can", "any"))
_GAP = re.compile(r"\{([a-z_]+)(?::(\d))?\}")


@dataclass(slots=True)
class _Line:
    """A line before it has a time and a person."""

    text: str
    reply_to: str | None = None
    wanted: list[str] = field(default_factory=list)


class _Fill:
    """The names one conversation uses: the same gap is the same thing throughout."""

    def __init__(self, all_texts: Texts, rng: Random, home: str) -> None:
        self._fillers = all_texts.fillers
        self._rng = rng
        self._chosen: dict[tuple[str, str], tuple[str, list[str]]] = {}
        if rng.random() < 0.6:
            self._chosen["city", ""] = self._split(home)

    def typed(self, text: str) -> str:
        """Fill gaps as a person types them."""
        return _GAP.sub(lambda gap: self._rng.choice(self._name(gap)[1]), text)

    def catalog(self, text: str) -> str:
        """Fill gaps as the catalog writes them."""
        return _GAP.sub(lambda gap: self._name(gap)[0], text)

    def _name(self, gap: re.Match[str]) -> tuple[str, list[str]]:
        key = (gap[1], gap[2] or "")
        if key not in self._chosen:
            taken = {name for (kind, _), (name, _) in self._chosen.items() if kind == gap[1]}
            names = [self._split(item) for item in self._fillers[gap[1]]]
            self._chosen[key] = self._rng.choice([found for found in names if found[0] not in taken])
        return self._chosen[key]

    @staticmethod
    def _split(item: str) -> tuple[str, list[str]]:
        name, *others = (part.strip() for part in item.split("="))
        return name, [*others, name]


def _topic_conversation(all_texts: Texts, topic: Topic, fill: _Fill, rng: Random) -> Iterator[_Line]:
    replies = all_texts.replies
    if rng.random() < 0.7:
        yield _Line(rng.choice(topic.openers), rng.choice(replies) if rng.random() < 0.3 else None)
    asks = rng.sample(sorted(topic.asks.items()), rng.choice((1, 1, 2)))
    answer = None
    for wanted, wordings in asks:
        if answer is not None and rng.random() < 0.5:
            yield _Line(rng.choice(all_texts.small), answer)
            answer = rng.choice(topic.answers)
        yield _Line(fill.typed(rng.choice(wordings)), answer, [fill.catalog(wanted)])
        answer = fill.typed(rng.choice(topic.answers))
    for tail in rng.sample(topic.tails, rng.randint(1, min(3, len(topic.tails)))):
        yield _Line(fill.typed(tail), answer)
        answer = rng.choice(replies)
    yield _Line(rng.choice(all_texts.small), answer)


def _chatter(all_texts: Texts, lines: Sequence[str], fill: _Fill, rng: Random) -> Iterator[_Line]:
    length = rng.randint(4, 8)
    start = rng.randrange(max(1, len(lines) - length + 1))
    said = None
    for line in lines[start : start + length]:
        yield _Line(fill.typed(line), said)
        said = rng.choice(all_texts.replies) if rng.random() < 0.8 else None
        if rng.random() < 0.2:
            yield _Line(rng.choice(all_texts.small), said)


def _errand(lines: Sequence[str], fill: _Fill) -> Iterator[_Line]:
    said = None
    for number, line in enumerate(lines):
        if number % 2:
            said = fill.typed(line)
        else:
            yield _Line(fill.typed(line), said)


def _typed_by(rng: Random, text: str, tidy: float) -> str:
    """People differ in how they write: capitals and full stops, or neither."""
    if rng.random() < tidy:
        text = text[0].upper() + text[1:]
        asks = text.split()[0].rstrip("'s").casefold() in _QUESTION_WORDS
        return text if text[-1] in "?!." else text + ("?" if asks else ".")
    return text.rstrip(".!") if text.endswith((".", "!")) else text


def _moments(rng: Random, count: int) -> list[datetime]:
    """Begins of conversations, by day and by hour as people write: seldom at night, most in the evening."""
    hours = [1, 0, 0, 0, 0, 1, 3, 6, 7, 6, 5, 6, 8, 6, 5, 5, 6, 8, 10, 12, 12, 10, 6, 3]
    return sorted(
        START
        + timedelta(days=rng.randrange(DAYS), hours=rng.choices(range(24), hours)[0], seconds=rng.randrange(3_000))
        for _ in range(count)
    )


def _person_rows(all_texts: Texts, number: int, rng: Random) -> Iterator[dict[str, Any]]:
    user = f"shipped-{hashlib.sha256(f'people {number}'.encode()).hexdigest()[:8]}"
    home = rng.choice(all_texts.fillers["city"])
    tidy = rng.random()
    names = sorted(all_texts.topics)
    liking = [rng.gammavariate(0.5, 1.0) for _ in names]
    lines_left = rng.randint(*LINES_EACH)
    talks: list[tuple[str, str, list[_Line]]] = []
    while lines_left > 0:
        fill = _Fill(all_texts, rng, home)
        drawn = rng.random()
        if drawn < 0.45:
            topic = rng.choices(names, liking)[0]
            kind, lines = "task", list(_topic_conversation(all_texts, all_texts.topics[topic], fill, rng))
        elif drawn < 0.55:
            topic = "errands"
            kind, lines = "task", list(_errand(rng.choice(all_texts.errands), fill))
        else:
            topic = rng.choice(sorted(all_texts.chatter))
            kind, lines = "chat", list(_chatter(all_texts, all_texts.chatter[topic], fill, rng))
        talks.append((kind, topic, lines))
        lines_left -= len(lines)
    for (kind, topic, lines), moment in zip(talks, _moments(rng, len(talks)), strict=True):
        conversation = f"{rng.getrandbits(48):012x}"
        for at, line in enumerate(lines):
            moment += timedelta(seconds=rng.randint(8, 75))
            row = {
                "user": user,
                "conversation": conversation,
                "timestamp": moment.isoformat(),
                "text": _typed_by(rng, line.text, tidy),
                "kind": kind,
                "wanted": line.wanted,
                "topic": topic,
            }
            if line.reply_to:
                row["reply_to"] = line.reply_to
            if soon := [query for later in lines[at + 1 : at + 1 + SOON_LINES] for query in later.wanted]:
                row["soon"] = soon
            yield row


def make_rows(seed: int = 0, people: int = PEOPLE) -> list[dict[str, Any]]:
    """All lines of the replay, sorted by time."""
    all_texts = texts()
    rows = [
        row for number in range(people) for row in _person_rows(all_texts, number, Random(f"replay/{seed}/{number}"))
    ]
    # A stable sort, so that lines of one second stay in the order they were written in.
    return sorted(rows, key=lambda row: str(row["timestamp"]))


def encode(rows: Sequence[dict[str, Any]]) -> bytes:
    """Gzipped JSON lines without a time stamp: the same rows give the same bytes."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0, filename="") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return out.getvalue()


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Where to write it.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--people", type=click.IntRange(2), default=PEOPLE, show_default=True)
def main(out: Path | None, seed: int, people: int) -> None:
    """Make the shipped replay anew."""
    rows = make_rows(seed, people)
    data = encode(rows)
    path = out or shipped_replay()
    path.write_bytes(data)
    wanting = sum(bool(row["wanted"]) for row in rows)
    click.echo(f"{path}: {len(rows)} lines, {wanting} want a query, {len(data) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
