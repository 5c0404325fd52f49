"""Make the word lists this package ships: ``python -m keyboard_app.text.make_wordlists [LANGUAGE ...]``.

Needs wordfreq (the ``authoring`` extra); the keyboard itself never does. The result depends on the version of
wordfreq alone: no date, no order of a dictionary enters it.

A list is gzipped text, most frequent word first, one ``word<TAB>count`` a line, count per 10^9 words. A leading ``!``
marks words that are known, so that they are not corrected away, but never suggested.
"""

from __future__ import annotations

import codecs
import gzip
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "words"
TOP_N = 60_000
LONGEST = 20

_WORD = {"en": re.compile(r"[a-z]+(?:'[a-z]+)?")}
_ONE_LETTER = {"en": {"a", "i"}}
_CAPITALISED_EN = """
    i i'm i'll i've i'd monday tuesday wednesday thursday friday saturday sunday january february april june july
    august september october november december christmas easter english american british french german spanish
    italian chinese japanese indian european african asian america england britain london paris york california
    texas canada mexico france germany spain italy china japan india russia australia europe africa asia google
    facebook twitter youtube instagram
"""
_FRAGMENTS_EN = "th st nd rd ll ve re don didn doesn isn wasn aren couldn wouldn shouldn hasn haven ain"
_CAPITALISED = {"en": set(_CAPITALISED_EN.split())}
_FRAGMENTS = {"en": set(_FRAGMENTS_EN.split())}
SWAPPED = 100
"""A word is taken for a mistake when swapping two neighbouring letters makes one this many times as frequent."""
UNAPOSTROPHED = 15
"""A word is taken for a mistake when an apostrophe makes it a contraction this many times as frequent."""
# Slurs and obscenities, rot13 so that nobody has to read them here: word beginnings, then whole words.
_NEVER_BEGINNINGS = {
    "en": codecs.decode(
        "shpx zbgureshpx fuvg ohyyfuvg phag avttre avttn snttbg puvax jrgonpx genaa encvfg cbea ubeal "
        "pbpxfhpx oybjwbo unaqwbo wvmm juber fyhg ovgpu onfgneq nffubyr jnax qvyqb gvggvrf intva uvgyre",
        "rot13",
    ).split()
}
_NEVER_WORDS = {
    "en": codecs.decode(
        "phz phzf phzzvat phzfubg fcvp fcvpf qvpx qvpxf qvpxurnq qvpxurnqf xvxr xvxrf tbbx tbbxf qlxr qlxrf "
        "ergneq ergneqf ergneqrq encr encrq encrf encvat chffl chffvrf gjng gjngf obbo obbof obbovrf cravf "
        "cravfrf ahqr ahqrf anxrq anmv anmvf fhvpvqr fhvpvqrf snt sntf",
        "rot13",
    ).split()
}


def make(language: str) -> Path:
    """Write the list of one language and return its path."""
    import wordfreq

    shape = _WORD[language]
    never_beginnings, never_words = tuple(_NEVER_BEGINNINGS[language]), set(_NEVER_WORDS[language])
    capitalised, fragments = _CAPITALISED[language], _FRAGMENTS[language]
    words = [w for w in wordfreq.top_n_list(language, TOP_N) if shape.fullmatch(w) and len(w) <= LONGEST]
    count = {word: round(wordfreq.word_frequency(word, language) * 1e9) for word in words}
    contractions = {word.replace("'", ""): word for word in reversed(words) if "'" in word}
    lines = []
    for word in words:
        if word in fragments or (len(word) == 1 and word not in _ONE_LETTER[language]):
            continue
        meant = contractions.get(word)
        if meant is not None and count[meant] >= UNAPOSTROPHED * count[word]:
            continue
        if any(count.get(other, 0) >= SWAPPED * count[word] for other in _swaps(word)):
            continue
        written = word.capitalize() if word in capitalised else word
        mark = "!" if word.startswith(never_beginnings) or word.partition("'")[0] in never_words else ""
        lines.append(f"{mark}{written}\t{count[word]}\n")
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{language}.txt.gz"
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
        stream.write("".join(lines).encode())
    return path


def _swaps(word: str) -> list[str]:
    """Words made by swapping two neighbouring letters."""
    return [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)]


def main() -> None:
    """Make the lists named on the command line, by default all."""
    for language in sys.argv[1:] or sorted(_WORD):
        path = make(language)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
