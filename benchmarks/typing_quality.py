"""What the words of the strip are worth: keystrokes saved, and mistakes corrected.

English is measured on real text (a replay, of people that nothing was trained on) and on real mistakes (the codespell
dictionary). Spanish and German are measured on mistakes made by a seeded generator from their own word lists:
neighbouring key, swap, missing, doubled or forgotten accent. Such figures flatter, and are labelled ``synthetic``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import BenchmarkError, Value
from keyboard_app.simulation.replay import ReplayError, read_replay
from keyboard_app.simulation.splits import is_held_out
from keyboard_app.text import WordListError, WordMemory, WordSuggester, shipped_words
from keyboard_app.text.tokens import sentences
from keyboard_app.window.layouts import load_layout, neighbours

DESCRIPTION = "keystrokes saved and mistakes corrected, by language"

LAYOUT_OF = {"en": "qwerty", "de": "qwertz", "es": "spanish"}
LINES_A_PERSON = 25


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Measure what was given.

    Raises
    ------
    BenchmarkError
        When a file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks typing-quality", description=DESCRIPTION)
    parser.add_argument("--replay", type=Path, help="replay file of English text (.jsonl.gz)")
    parser.add_argument("--typos", type=Path, help="real English mistakes: CSV of typo and corrections (.csv.gz)")
    parser.add_argument("--people", type=int, default=20, help="held-out people to type (default 20)")
    parser.add_argument("--mistakes", type=int, default=3000, help="mistakes a language (default 3000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    results: dict[str, Value] = {"seed": options.seed}
    try:
        if options.replay is not None:
            results["keystrokes_english_real_text"] = _keystrokes(options.replay, options.people)
            results["false_corrections_english_real_text"] = _false_corrections(options.replay, options.people)
        if options.typos is not None:
            results["corrections_english_real_mistakes"] = _corrections("en", _real(options.typos, options))
        for language in LAYOUT_OF:
            name = f"corrections_{language}_synthetic_mistakes"
            results[name] = _corrections(language, _synthetic(language, options.mistakes, options.seed))
    except (ReplayError, WordListError) as error:
        raise BenchmarkError(str(error)) from None
    return results


def _suggester(language: str, memory: WordMemory | None = None) -> WordSuggester:
    words = WordSuggester.shipped(language, memory)
    assert words.corrector is not None  # it was asked for
    words.corrector.load()
    words.corrector.neighbours = neighbours(load_layout(LAYOUT_OF[language]))
    return words


# -- keystrokes --------------------------------------------------------------------------------------------------------


def _keystrokes(replay: Path, people: int) -> dict[str, Value]:
    """Type real lines, taking a word as soon as the strip shows it; memory on and off."""
    lines = _lines(replay, people)
    found: dict[str, Value] = {"people": len(lines), "lines": sum(map(len, lines.values()))}
    for name, remember in (("without_memory", False), ("with_memory", True)):
        needed = typed = first_try = words = 0
        for number, person in enumerate(lines.values()):
            with tempfile.TemporaryDirectory() as folder:
                memory = WordMemory(Path(folder) / f"{number}.sqlite") if remember else None
                suggester = WordSuggester.shipped("en", memory, correction=False)
                for line in person:
                    for sentence in sentences(line):
                        before = ""
                        for word in sentence:
                            keys, at_once = _keys_for(suggester, word, before)
                            needed += len(word) + 1
                            typed += keys
                            first_try += at_once
                            words += 1
                            before += word + " "
                    if memory is not None:
                        memory.learn(line, "en")
                if memory is not None:
                    memory.close()
        found[f"saved_share_{name}"] = 1.0 - typed / max(needed, 1)
        found[f"next_word_shown_share_{name}"] = first_try / max(words, 1)
        found["words"] = words
    return found


def _keys_for(suggester: WordSuggester, word: str, before: str) -> tuple[int, bool]:
    """Keys and taps for a word and its space, and whether it was shown before its first letter."""
    wanted = word.lower()
    for typed in range(len(word)):
        shown = suggester.suggest(word[:typed], before).words
        if wanted in [other.lower() for other in shown]:
            return typed + 1, typed == 0  # a tap brings the space
    return len(word) + 1, False


def _false_corrections(replay: Path, people: int) -> dict[str, Value]:
    """How often a space would change a word of real text; not all of these were typed as they were meant."""
    suggester = _suggester("en")
    words = changed = 0
    for person in _lines(replay, people).values():
        for line in person:
            for sentence in sentences(line):
                before = ""
                for word in sentence:
                    correction = suggester.suggest(word, before).correction
                    named = bool(before) and word[:1].isupper()
                    changed += correction is not None and not named and correction.lower() != word.lower()
                    words += 1
                    before += word + " "
    return {"words": words, "changed_share": changed / max(words, 1)}


def _lines(replay: Path, people: int) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for line in read_replay(replay):
        if not is_held_out(line.user) or (line.user not in lines and len(lines) >= people):
            continue
        own = lines.setdefault(line.user, [])
        if len(own) < LINES_A_PERSON:
            own.append(line.text)
    return lines


# -- mistakes ----------------------------------------------------------------------------------------------------------


def _corrections(language: str, mistakes: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, Value]:
    """Share of mistakes whose intended word comes first, is on the strip, is put in by a space; and put in wrongly."""
    suggester = _suggester(language)
    first = shown = put_in = wrong = 0
    took: list[float] = []
    for typed, meant in mistakes:
        began = time.perf_counter()
        found = suggester.suggest(typed, "")
        took.append(time.perf_counter() - began)
        words = [word.lower() for word in found.words]
        first += bool(words) and words[0] in meant
        shown += bool(set(words) & set(meant))
        if found.correction is not None:
            put_in += found.correction.lower() in meant
            wrong += found.correction.lower() not in meant
    count = max(len(mistakes), 1)
    took.sort()
    return {
        "mistakes": len(mistakes),
        "first_share": first / count,
        "on_strip_share": shown / count,
        "put_in_share": put_in / count,
        "put_in_wrongly_share": wrong / count,
        "p50_ms": 1e3 * took[len(took) // 2],
        "p99_ms": 1e3 * took[int(len(took) * 0.99)],
    }


def _real(path: Path, options: argparse.Namespace) -> list[tuple[str, tuple[str, ...]]]:
    """Mistakes people made, whose intended word the list knows; a seeded sample."""
    known = shipped_words("en")
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream) if len(row) >= 2]
    except OSError:
        raise BenchmarkError(f"{path.name} cannot be read: give a gzipped CSV of typo and corrections.") from None
    found = []
    for typo, *corrections in rows[1:]:
        meant = tuple(word.strip().lower() for part in corrections for word in part.replace("|", ",").split(","))
        meant = tuple(word for word in meant if word in known)
        if meant and typo.isalpha() and typo.islower() and len(typo) >= 3 and typo not in known:
            found.append((typo, meant))
    return random.Random(options.seed).sample(found, min(options.mistakes, len(found)))


def _synthetic(language: str, count: int, seed: int) -> list[tuple[str, tuple[str, ...]]]:
    """Made-up mistakes in words drawn by their frequency."""
    rng = random.Random(f"{language}/{seed}")
    words = shipped_words(language)
    around = neighbours(load_layout(LAYOUT_OF[language]))
    pool = [
        (word.lower(), frequency)
        for word, frequency in zip(words.words, words.counts, strict=True)
        if len(word) >= 4 and word.isalpha() and word.lower() not in words.unsuggested
    ][:20_000]
    weights = [frequency**0.5 for _, frequency in pool]
    found: list[tuple[str, tuple[str, ...]]] = []
    while len(found) < count:
        word = rng.choices(pool, weights)[0][0]
        typo = next(_slips(word, around, rng))
        if typo != word and typo not in words:
            found.append((typo, (word,)))
    return found


def _slips(word: str, around: Mapping[str, str], rng: random.Random) -> Iterator[str]:
    at = rng.randrange(1, len(word))
    kind = rng.choice(("neighbour", "swap", "missing", "doubled", "extra", "accent"))
    letter = word[at]
    if kind == "swap":
        yield word[: at - 1] + letter + word[at - 1] + word[at + 1 :]
    if kind == "missing":
        yield word[:at] + word[at + 1 :]
    if kind == "doubled":
        yield word[:at] + letter + word[at:]
    if kind == "extra":
        yield word[:at] + rng.choice(around.get(letter) or letter) + word[at:]
    if kind == "accent":
        yield word.translate(str.maketrans("áéíóúüñäöàèçâêîôû", "aeiouunaoaecaeiou"))
    yield word[:at] + rng.choice(around.get(letter) or letter) + word[at + 1 :]
