"""What is peculiar to a language, read from ``languages/CODE.json``; its words lie in ``words/``.

``name``, ``openers`` (three words that often begin a line) and ``after`` (word -> words that often follow, best first;
"" for the beginning of a sentence) are used while typing, ``make`` by :mod:`keyboard_app.text.make_wordlists` alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from keyboard_app.text.word_list import FOLDER as WORDS_FOLDER
from keyboard_app.text.word_list import WordListError

FOLDER = Path(__file__).parent / "languages"


@dataclass(frozen=True)
class Language:
    """One language."""

    code: str
    name: str
    openers: tuple[str, ...]
    after: Mapping[str, tuple[str, ...]]
    """Lower-case word -> words that often follow it, best first."""


def available_languages() -> list[str]:
    """Codes of the languages that have both a description and words."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if (WORDS_FOLDER / f"{path.stem}.txt.gz").exists())


@lru_cache(maxsize=8)
def load_language(code: str) -> Language:
    """Read ``languages/CODE.json``.

    Raises
    ------
    WordListError
        When the file is missing or damaged.
    """
    path = FOLDER / f"{code}.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        after = {word: tuple(following.split()) for word, following in described["after"].items()}
        return Language(code, described["name"], tuple(described["openers"]), after)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise WordListError(
            f"The language file {path.name} is missing or damaged: install the app again, or compare it with en.json."
        ) from None
