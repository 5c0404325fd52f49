"""What a typing session is told and tells: the kind of field, the strip, a sent line, what does not work."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from data_logging import Impression, Outcome


class FieldKind(enum.StrEnum):
    """What kind of field is being typed into."""

    TEXT = "text"
    PASSWORD = "password"
    """No words, no query, no log."""
    NO_LEARNING = "no_learning"
    """Incognito: words, but no query and no log; the conversation does not remember the line either."""


class Trouble(enum.Enum):
    """Something does not work; typing goes on. The value is a sentence for the person, without any content."""

    RANKING = "Query suggestions are not working at the moment; words are."
    LOG = "The local log cannot be written at the moment; nothing is recorded meanwhile."
    WORDS = "Word suggestions are not working at the moment."
    PREFERENCES = "Your choices cannot be written at the moment; they hold until the keyboard is closed."
    MEMORY = "Learned words cannot be written at the moment; none are learned meanwhile."


@dataclass(frozen=True, slots=True)
class Strip:
    """What the suggestion strip shows."""

    words: tuple[str, ...] = ()
    """Up to three, best first."""
    correction: str | None = None
    """What the next space or sign puts in place of the word at the cursor: the first of the words. The second is what
    was typed; choosing it keeps it."""
    query: str | None = None
    """At most one."""
    sequence: int = field(default=0, compare=False)
    """Goes up with every change: who draws later drops what is older."""


@dataclass(frozen=True, slots=True)
class SentLine:
    """What became of a sent line."""

    text: str
    """As typed; empty for a line that must not be logged."""
    impression: Impression | None
    """As decided; the log holds it redacted. None when there was no candidate, or in a field that is not logged."""
    outcome: Outcome | None
    row: int | None
    """The impression's id in the log."""
