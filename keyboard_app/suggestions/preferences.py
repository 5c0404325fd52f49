"""What the person wants of suggestions, kept in one small file on the device: switches, and what was refused for good.

A file that cannot be read is set aside as ``*.corrupt-N`` and the ordinary preferences hold; writing replaces the file
in one step, so that a killed process leaves the old one or the new one.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec


class Refusal(enum.StrEnum):
    """What a long press on a query refuses."""

    QUERY = "query"
    """This query, anywhere."""
    CATEGORY = "category"
    """Its category, anywhere."""
    CONVERSATION = "conversation"
    """Every query, in this chat."""


class _File(msgspec.Struct, omit_defaults=True):
    queries: bool = True
    correct: bool = True
    refused_queries: list[str] = []
    refused_categories: list[str] = []
    quiet_conversations: list[str] = []


@dataclass(slots=True)
class Preferences:
    """What the person wants. Change the fields, then :meth:`save`."""

    path: Path | None = None
    """Where they are kept; None: in memory alone."""
    queries: bool = True
    """Whether queries are offered at all; words are, in any case."""
    correct: bool = True
    """Whether a space puts in a sure correction."""
    refused_queries: set[str] = field(default_factory=set)
    refused_categories: set[str] = field(default_factory=set)
    quiet_conversations: set[str] = field(default_factory=set)
    recovered: Path | None = None
    """Where a damaged file was set aside."""

    @classmethod
    def load(cls, path: Path) -> Preferences:
        """Read ``path``; the ordinary preferences when there is none, or none that can be read."""
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=_File)
        except FileNotFoundError:
            return cls(path)
        except (OSError, msgspec.DecodeError):
            return cls(path, recovered=_set_aside(path))
        return cls(
            path,
            kept.queries,
            kept.correct,
            set(kept.refused_queries),
            set(kept.refused_categories),
            set(kept.quiet_conversations),
        )

    def save(self) -> None:
        """Write them, all or nothing.

        Raises
        ------
        OSError
            When the file cannot be written; the old one stays.
        """
        if self.path is None:
            return
        kept = _File(
            self.queries,
            self.correct,
            sorted(self.refused_queries),
            sorted(self.refused_categories),
            sorted(self.quiet_conversations),
        )
        beside = self.path.with_name(self.path.name + ".new")
        with beside.open("wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(kept)))
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(self.path)

    def allow_all(self) -> None:
        """Take every refusal back."""
        self.refused_queries.clear()
        self.refused_categories.clear()
        self.quiet_conversations.clear()


def _set_aside(path: Path) -> Path | None:
    number = 1
    while (kept := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    try:
        path.rename(kept)
    except OSError:
        return None
    return kept
