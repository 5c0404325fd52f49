"""Make the word lists this package ships: ``python -m keyboard_app.text.make_wordlists [LANGUAGE ...]``.

Needs wordfreq (the ``authoring`` extra), and german-nouns for German; the keyboard itself needs neither. The result
depends on their versions and on ``languages/CODE.json`` alone: no date, no order of a dictionary enters it.

A list is gzipped text, most frequent word first, one ``word<TAB>count`` a line, count per 10^9 words. A leading ``!``
marks words that are known, so that they are not corrected away, but never suggested.

``--pairs REPLAY`` makes ``en.pairs.txt.gz``, word pairs of the people in a replay who may train, instead.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import importlib.util
import json
import re
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from keyboard_app.text.language import FOLDER as LANGUAGE_FOLDER

FOLDER = Path(__file__).parent / "words"
TOP_N = 60_000
LONGEST = 20
SWAPPED = 100
"""A word is taken for a mistake when swapping two neighbouring letters makes one this many times as frequent."""
UNAPOSTROPHED = 15
"""A word is taken for a mistake when an apostrophe makes it a contraction this many times as frequent."""
UNACCENTED = 12
"""A word is taken for a mistake when accents make it one this many times as frequent."""
PAIRS = 40_000
FEWEST_PEOPLE = 5
"""A pair is kept when so many different people wrote it: nobody's own phrases ship."""


@dataclass(frozen=True)
class _Recipe:
    """The part ``make`` of a language file."""

    letters: re.Pattern[str]
    one_letter: frozenset[str]
    capitalised: frozenset[str]
    nouns: frozenset[str]
    """Nouns of a language that writes them with a capital, forms included."""
    fragments: frozenset[str]
    never_beginnings: tuple[str, ...]
    """Slurs and obscenities; in the file they are rot13, so that nobody has to read them there."""
    never_words: frozenset[str]
    small: frozenset[str]
    """Words that are written small although they are nouns too."""
    contractions: bool
    """Whether a word without its apostrophe is a mistake."""

    @classmethod
    def read(cls, language: str) -> _Recipe:
        made: dict[str, Any] = json.loads((LANGUAGE_FOLDER / f"{language}.json").read_text(encoding="utf-8"))["make"]
        return cls(
            re.compile(made["letters"]),
            frozenset(made["one_letter"].split()),
            frozenset(made["capitalised"].split()),
            _german_nouns() if made.get("nouns") == "german_nouns" else frozenset(),
            frozenset(made["fragments"].split()),
            tuple(codecs.decode(made["never_beginnings_rot13"], "rot13").split()),
            frozenset(codecs.decode(made["never_words_rot13"], "rot13").split()),
            frozenset(made.get("small", "").split()),
            made["contractions"],
        )


def make(language: str) -> Path:
    """Write the list of one language and return its path."""
    import wordfreq

    recipe = _Recipe.read(language)
    words = [
        word for word in wordfreq.top_n_list(language, TOP_N) if recipe.letters.fullmatch(word) and len(word) <= LONGEST
    ]
    count = {word: round(wordfreq.word_frequency(word, language) * 1e9) for word in words}
    contractions = {word.replace("'", ""): word for word in reversed(words) if "'" in word and recipe.contractions}
    accented: dict[str, int] = {}
    for word in words:
        if _unaccented(word) != word:
            accented[_unaccented(word)] = max(accented.get(_unaccented(word), 0), count[word])
    nouns = recipe.nouns
    if nouns:
        nouns -= _german_also_verbs_or_adjectives(set(count), recipe.small)
    lines = []
    for word in words:
        if accented.get(word, 0) >= UNACCENTED * count[word] and not recipe.contractions:
            continue
        if word in recipe.fragments or (len(word) == 1 and word not in recipe.one_letter):
            continue
        meant = contractions.get(word)
        if meant is not None and count[meant] >= UNAPOSTROPHED * count[word]:
            continue
        if any(count.get(other, 0) >= SWAPPED * count[word] for other in _swaps(word)):
            continue
        written = word.capitalize() if word in recipe.capitalised or word in nouns else word
        never = word.startswith(recipe.never_beginnings) or word.partition("'")[0] in recipe.never_words
        lines.append(f"{'!' if never else ''}{written}\t{count[word]}\n")
    return _write(FOLDER / f"{language}.txt.gz", lines)


@cache
def _german_nouns() -> frozenset[str]:
    """Forms of German nouns, lower case, from the german-nouns package (WiktionaryDE, CC BY-SA 4.0)."""
    found = importlib.util.find_spec("german_nouns")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("German nouns come from the package german-nouns: pip install german-nouns")
    table = Path(next(iter(found.submodule_search_locations))) / "nouns.csv"
    forms: set[str] = set()
    with table.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            for column, form in row.items():
                if form and (column == "lemma" or column.startswith(("nominativ", "genitiv", "dativ", "akkusativ"))):
                    forms.add(form)
    return frozenset(form.lower() for form in forms if form[:1].isupper() and form.isalpha())


def _german_also_verbs_or_adjectives(known: set[str], small: frozenset[str]) -> set[str]:
    """Words that other parts of speech write small: function words, infinitives, adjectives by form.

    A noun that looks like one of them stays small: that is the likelier.
    """
    also = set(small)
    for word in known:
        stem = word.removesuffix("en") if word.endswith("en") else word.removesuffix("n")
        if stem != word and {stem + ending for ending in ("t", "et", "te", "ete", "st")} & known:
            also |= {word, stem + "e", stem + "st", stem}  # leben: lebt; lebe, leb
        if {word + "er", word + "es", word + "em"} <= known:
            also |= {word + ending for ending in ("", "e", "er", "es", "en", "em")}  # gut: guter, gutes, gutem
    return also


def make_pairs(replay: Path, language: str = "en") -> Path:
    """Write the word pairs of a replay's people who may train, before its last four days, and return the path.

    A line is ``first<TAB>second<TAB>count``, most frequent pair first; first is empty for the beginning of a sentence.
    Only pairs of listed words that :data:`FEWEST_PEOPLE` people wrote are kept, and only the lines' own text is read.
    """
    from keyboard_app.simulation.replay import read_replay
    from keyboard_app.simulation.splits import is_held_out, outline
    from keyboard_app.text.tokens import sentences
    from keyboard_app.text.word_list import shipped_words

    words = shipped_words(language)
    cut = outline(replay).cut
    pairs: Counter[tuple[str, str]] = Counter()
    people: dict[tuple[str, str], set[str]] = {}
    for line in read_replay(replay):
        if is_held_out(line.user) or line.time >= cut:
            continue
        for sentence in sentences(line.text):
            before = ""
            for word in (token.lower() for token in sentence):
                if word in words and word not in words.unsuggested and (not before or before in words):
                    pair = (before, word)
                    pairs[pair] += 1
                    who = people.setdefault(pair, set())
                    if len(who) < FEWEST_PEOPLE:
                        who.add(line.user)
                before = word
    kept = [pair for pair in pairs if len(people[pair]) >= FEWEST_PEOPLE]
    kept.sort(key=lambda pair: (-pairs[pair], pair))
    lines = [f"{first}\t{second}\t{pairs[first, second]}\n" for first, second in kept[:PAIRS]]
    return _write(FOLDER / f"{language}.pairs.txt.gz", lines)


def _write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
        stream.write("".join(lines).encode())
    return path


def _unaccented(word: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))


def _swaps(word: str) -> list[str]:
    """Words made by swapping two neighbouring letters."""
    return [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)]


def main() -> None:
    """Make the lists named on the command line, by default all; or the pairs."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--pairs"]:
        made = [make_pairs(Path(arguments[1]))]
    else:
        made = [
            make(language) for language in arguments or sorted(file.stem for file in LANGUAGE_FOLDER.glob("*.json"))
        ]
    for path in made:
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
