"""The small replay that ships: people with tastes, and what they write.

``texts.json`` holds conversations that lead to a search, chatter that never does (much of it about the same places and
things, as people's is), errands, and the names that fill their gaps. ``python -m keyboard_app.simulation.make_replay``
deals them to people and writes ``replay.jsonl.gz``; the same seed gives the same bytes. All of it is written for this
project.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import msgspec


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One subject people search about; its name is a category of the shipped catalog."""

    openers: tuple[str, ...]
    """Lines that lead up to a search: nothing precise enough yet."""
    asks: dict[str, tuple[str, ...]]
    """Query with gaps -> lines on which it is wanted. A gap ``{city:2}`` is another city than ``{city}``."""
    answers: tuple[str, ...]
    """What the other side says to an ask."""
    tails: tuple[str, ...]
    """Lines after it: the same words, but nothing is wanted any more."""


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the people of the shipped replay write."""

    fillers: dict[str, tuple[str, ...]]
    """Type -> names, ``catalog name`` or ``catalog name = what people type instead``."""
    topics: dict[str, Topic]
    chatter: dict[str, tuple[str, ...]]
    errands: tuple[tuple[str, ...], ...]
    """Talks with an assistant, its lines and the person's taking turns; nothing to search for."""
    small: tuple[str, ...]
    replies: tuple[str, ...]


def texts() -> Texts:
    """Read the texts."""
    return msgspec.json.decode(files(__name__).joinpath("texts.json").read_bytes(), type=Texts)


def shipped_replay() -> Path:
    """Path of the replay that ships with the package."""
    return Path(str(files(__name__).joinpath("replay.jsonl.gz")))
