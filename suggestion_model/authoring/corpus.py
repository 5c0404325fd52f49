"""Unlabelled text for pre-training: what was typed and what was answered, and nothing that says what was wanted.

Readers here look at text fields only. ``wanted``, ``soon``, ``kind`` and ``topic`` of a replay are never read, so
nothing made from a :class:`Corpus` can have seen a label or anything derived from one. Of replays, the people and the
days that evaluations hold back are left out too: what a figure is measured on, no part of the bundle has read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..errors import CorpusError


@dataclass(frozen=True, slots=True)
class Turn:
    """One typed line between what was said before it and what was answered."""

    text: str
    earlier: tuple[str, ...]
    """Up to :data:`EARLIER_LINES` lines of the conversation before it, both sides, oldest first."""
    following: str
    """What the other side said next, empty when unknown."""
    when: datetime
    conversation: str
    """An equality key only."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Everything the authoring command learns from."""

    turns: tuple[Turn, ...]
    """Lines of replayed conversations."""
    utterances: tuple[str, ...]
    """Assistant commands."""
    queries: tuple[str, ...]
    """Real query strings."""
    sources: tuple[str, ...]
    """File names read, in order."""

    def texts(self) -> Iterator[str]:
        """Every text once, in file order: what the tokenizer is trained on."""
        for turn in self.turns:
            yield turn.text
            if turn.earlier:
                yield turn.earlier[-1]
        yield from self.utterances
        yield from self.queries


EARLIER_LINES = 12
"""Lines of memory a conversation keeps, as the typing session does."""
HELD_OUT_SHARE = 0.2
HELD_BACK = timedelta(days=4)

REPLAYS = ("replay_train.jsonl.gz",)
UTTERANCES = ("utt_snips.jsonl.gz", "utt_nlu_eval.jsonl.gz", "utt_trec_cast.jsonl.gz")
QUERIES = ("queries.jsonl.gz",)


def read_corpus(data: Path) -> Corpus:
    """Read all text files under ``data`` (see the card for their origin and licences).

    Raises:
        CorpusError: a file is missing, or a line of it is not what it should be.
    """
    turns: list[Turn] = []
    for name in REPLAYS:
        turns += read_turns(data / name)
    utterances: list[str] = []
    for name in UTTERANCES:
        utterances += [row["text"] for row in _rows(data / name, ("text",))]
    queries: list[str] = []
    for name in QUERIES:
        queries += [row["query"] for row in _rows(data / name, ("query",))]
    return Corpus(tuple(turns), tuple(utterances), tuple(queries), REPLAYS + UTTERANCES + QUERIES)


def is_held_out(user: str) -> bool:
    """Whether evaluations hold this person out: the same fifth of all people as everywhere in this project."""
    digest = hashlib.sha256(f"federated-keyboard/held-out-people/1\0{user}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < HELD_OUT_SHARE


def read_turns(path: Path) -> list[Turn]:
    """Read a replay's lines with their surroundings: text, reply_to, conversation, user and timestamp, nothing else.

    People who are held out, and conversations that reach into the last four days, are left out.
    """
    rows = [
        (row["conversation"], row["text"], row.get("reply_to") or "", _time(path, row["timestamp"]), row["user"])
        for row in _rows(path, ("conversation", "text", "timestamp", "user"))
    ]
    cut = max((row[3] for row in rows), default=datetime.max.replace(tzinfo=UTC)) - HELD_BACK
    crossing = {row[0] for row in rows if row[3] >= cut}
    rows = [row for row in rows if row[0] not in crossing and not is_held_out(row[4])]
    following = [""] * len(rows)
    latest: dict[str, int] = {}
    for at, (conversation, _, reply_to, *_) in enumerate(rows):
        if conversation in latest:
            following[latest[conversation]] = reply_to
        latest[conversation] = at
    history: dict[str, tuple[str, ...]] = {}
    turns = []
    for (conversation, text, reply_to, when, _), answer in zip(rows, following, strict=True):
        earlier = history.get(conversation, ())
        if reply_to:
            earlier = (*earlier, reply_to)
        earlier = earlier[-EARLIER_LINES:]
        turns.append(Turn(text, earlier, answer, when, conversation))
        history[conversation] = (*earlier, text)[-EARLIER_LINES:]
    return turns


def _time(path: Path, stamp: str) -> datetime:
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        raise CorpusError(f"{path}: a timestamp is not ISO 8601. Repair or remove the line.") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                except ValueError:
                    raise CorpusError(f"{path}, line {number}: not JSON. Repair or remove the line.") from None
                if not isinstance(row, dict) or any(not isinstance(row.get(name), str) for name in needed):
                    raise CorpusError(f"{path}, line {number}: needs the text fields {', '.join(needed)}.")
                yield row
    except OSError as error:
        raise CorpusError(
            f"{path}: cannot be read ({error.strerror or 'damaged'}). "
            "Point --data at the directory with the text files named in the card."
        ) from None
    except EOFError:
        raise CorpusError(f"{path}: ends early. Copy the file again.") from None
