"""Words of a text, sentence by sentence."""

from __future__ import annotations

import re

_WORD = r"[^\W\d_]+(?:['’][^\W\d_]+)*"
_PIECE = re.compile(rf"(?P<word>{_WORD})|(?P<end>[.!?…:;\n()\[\]\"“”„«»]+|\d[\w.,]*|⟨[^⟩]*⟩)")
LONGEST_WORD = 32
"""Longer runs of letters are no words."""


def sentences(text: str) -> list[list[str]]:
    """Words as written, cut where a sentence ends, at numbers, brackets and quotes, and where redaction cut.

    >>> sentences("Hi there! It's 7 already")
    [['Hi', 'there'], ["It's"], ['already']]
    """
    found: list[list[str]] = [[]]
    for piece in _PIECE.finditer(text):
        word = piece["word"]
        if word and len(word) <= LONGEST_WORD:
            found[-1].append(word.replace("’", "'"))
        elif found[-1]:
            found.append([])
    return [sentence for sentence in found if sentence]


def last_words(before: str, count: int = 2) -> tuple[str, ...]:
    """The last words of the sentence that goes on after ``before``, oldest first, lower case; () where one begins."""
    tail = before[-(LONGEST_WORD * (count + 1)) :]
    end = 0
    words: list[str] = []
    for piece in _PIECE.finditer(tail):
        end = piece.end()
        if piece["word"]:
            words.append(piece["word"].lower().replace("’", "'"))
        else:
            words.clear()
    return tuple(words[-count:]) if tail[end:].strip(" ,'-–—") == "" else ()
