"""Words as the matcher sees them: case and accents folded, abbreviations joined, endings cut lightly.

Which endings are cut is a table of the language (:mod:`suggestion_model.catalog.language`); nothing here knows English.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

Endings = Sequence[tuple[str, str, int]]

_WORD = re.compile(r"[^\W_]+(?:['’`][^\W_]+)*")
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.){2,}")
_MARKS = re.compile(r"['’`]")


def fold(text: str) -> str:
    """Casefold and strip accents: ``"São Paulo"`` becomes ``"sao paulo"``."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def words(text: str) -> list[str]:
    """Split into folded words; ``"D.C."`` is one word ``dc``, ``"Joe's"`` is ``joes``."""
    folded = fold(text)
    if "." in folded:
        folded = _INITIALS.sub(lambda match: match.group().replace(".", "") + " ", folded)
    found = _WORD.findall(folded)
    if "'" in folded or "’" in folded or "`" in folded:
        return [_MARKS.sub("", word) for word in found]
    return found


def ends_inside_word(text: str) -> bool:
    """True when the cursor, at the end of ``text``, may still be inside a word."""
    return bool(text) and text[-1].isalnum()


def stem(word: str, suffixes: Endings, endings: Endings, undoubled: str = "") -> str:
    """Cut inflection: replace the first suffix that fits, undo a doubled last letter, then the same with endings.

    ``suffixes`` inflect ("-ing"); ``endings`` only differ in spelling ("city", "citi"). Each is a table of (ending,
    replacement, least number of letters that must stay before it), tried in order. ``undoubled`` holds the letters that
    a suffix doubles ("shopping").
    """
    if len(word) < 4 or not word.isalpha():
        return word
    for suffix, replacement, least in suffixes:
        if word.endswith(suffix) and len(word) - len(suffix) >= least:
            cut = word[: len(word) - len(suffix)] + replacement
            if not replacement and len(suffix) > 1 and len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] in undoubled:
                cut = cut[:-1]
            word = cut
            break
    for ending, replacement, least in endings:
        if word.endswith(ending) and len(word) - len(ending) >= least:
            return word[: len(word) - len(ending)] + replacement
    return word
