"""Words as the matcher sees them: case and accents folded, abbreviations joined, endings cut lightly.

Which endings are cut is a table of the language (:mod:`suggestion_model.catalog.language`); nothing here knows English.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

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


def stem(word: str, suffixes: Sequence[tuple[str, str, int]], drop_final: str) -> str:
    """Cut inflection: the first suffix that fits is replaced, a doubled last consonant undone, final letters dropped.

    ``suffixes`` are (suffix, replacement, least number of letters that must stay before it), longest first.
    """
    if len(word) < 4 or not word.isalpha():
        return word
    for suffix, replacement, least in suffixes:
        if word.endswith(suffix) and len(word) - len(suffix) >= least:
            cut = word[: len(word) - len(suffix)] + replacement
            if not replacement and len(suffix) > 1 and len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] not in "aeiouls":
                cut = cut[:-1]
            word = cut
            break
    if len(word) > 3 and word[-1] in drop_final:
        return word[:-1]
    return word
