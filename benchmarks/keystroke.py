"""Time from a key press to the ready strip: the whole session with the full catalog, words, correction and log."""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import BenchmarkError, Value
from data_logging import ImpressionLog
from keyboard_app.suggestions import SuggestionEngine, TypingSession
from keyboard_app.text import WordSuggester
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import CatalogError, load_catalog, shipped_catalog

DESCRIPTION = "time from key press to ready strip, full session"

GOAL_P99_MS = 8.0
WARM_UP_LINES = 10

# (their line before it, the line): chat, tasks, mistakes, a long one.
LINES = (
    ("", "hey, are we still on for friday?"),
    ("yes! what do you want to do?", "i was thinking thai food, any good restaurants in oakland?"),
    ("there are a few near the lake", "find me a table for 4 at 7 pm"),
    ("", "I need a flight from Boston to Chicago next weekend"),
    ("one way or round trip?", "round trip, and a cheap hotel in chicago for two nights"),
    ("", "did you watch the game last night"),
    ("no, who won?", "they lost in overtime agian, i coudn't beleive it"),
    ("", "what's the weather like in seattle tomorrow?"),
    ("rainy I guess", "then we should go to the museum instead"),
    ("", "happy birthday!! hope you have a wonderful day"),
    ("thank you so much", "see you at the party, whats the adress?"),
    ("", "my laptop battery dies after an hour, do you know a repair shop in san jose"),
    ("maybe you just need a new one", "lol ok"),
    ("", "lets cook something, how do you make a lasagna without meat"),
    ("use spinach", "good idea, and some mushrooms"),
    ("", "who sang that song we heard in the car, the one from the nineties with the whistling"),
    ("", "i want to see a movie in berkeley tonight, somthing funny"),
    (
        "",
        "the meeting moved to 3 so can you send me the notes from last week before then, i still have to prepare "
        "the slides and book the train from london to paris for the conference in april",
    ),
    ("", "ok"),
    ("", "is there a pharmacy open near union square right now"),
    ("", "we rented a car in los angeles once and drove all the way up the coast"),
    ("", "running shoes or hiking boots for yosemite in may?"),
    ("", "nah i'm good thanks"),
    ("", "show me apartments for rent in menlo park with 2 bedrooms"),
)


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Type realistic lines key by key and time every key.

    Raises
    ------
    BenchmarkError
        When a file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks keystroke", description=DESCRIPTION)
    parser.add_argument("--catalog", type=Path, help="query list or graph instead of the shipped catalog")
    parser.add_argument("--replay", type=Path, help="replay file to take lines from instead of the built-in ones")
    parser.add_argument("--lines", type=int, default=240, help="lines to type (default 240)")
    parser.add_argument("--no-correction", action="store_true", help="leave the correction dictionary out")
    options = parser.parse_args(argv)
    try:
        catalog = shipped_catalog() if options.catalog is None else load_catalog(options.catalog)
    except CatalogError as error:
        raise BenchmarkError(str(error)) from None
    source = _replayed(options.replay) if options.replay else _built_in()
    words = WordSuggester.shipped(correction=not options.no_correction)
    if words.corrector is not None:
        words.corrector.load()
    with tempfile.TemporaryDirectory() as folder:
        now = [time.time()]
        log = ImpressionLog(Path(folder) / "log.sqlite", lambda: now[0])
        engine = SuggestionEngine(Bundle.shipped(), catalog, log, lambda: now[0], random.Random(0))
        session = TypingSession(engine, log, words, lambda: now[0])
        keys: list[float] = []
        cpu: list[float] = []
        sends: list[float] = []
        offers = 0
        for number, (conversation, said, line) in enumerate(source):
            if number >= options.lines + WARM_UP_LINES:
                break
            if number == WARM_UP_LINES:
                keys.clear()
                cpu.clear()
                sends.clear()
            session.open_conversation(conversation)
            if said:
                session.receive(said)
            for character in line:
                now[0] += 0.2
                started, worked = time.perf_counter(), time.thread_time()
                session.type(character)
                cpu.append(time.thread_time() - worked)
                keys.append(time.perf_counter() - started)
            offers += session.strip.query is not None
            now[0] += 1.0
            started = time.perf_counter()
            session.send()
            sends.append(time.perf_counter() - started)
        troubles = sorted(trouble.name for trouble in session.troubles)
        log.close()
    if not keys:
        raise BenchmarkError("no line was typed: give more --lines, or a longer replay.")
    keys.sort()
    cpu.sort()
    sends.sort()
    return {
        "p50_ms": _quantile_ms(keys, 0.50),
        "p90_ms": _quantile_ms(keys, 0.90),
        "p99_ms": _quantile_ms(keys, 0.99),
        "max_ms": _quantile_ms(keys, 1.0),
        "mean_ms": 1e3 * sum(keys) / len(keys),
        "goal_p99_ms": GOAL_P99_MS,
        "cpu_p50_ms": _quantile_ms(cpu, 0.50),
        "cpu_p99_ms": _quantile_ms(cpu, 0.99),
        "send_p50_ms": _quantile_ms(sends, 0.50),
        "send_p99_ms": _quantile_ms(sends, 0.99),
        "keys": len(keys),
        "lines": len(sends),
        "lines_with_offer": offers,
        "troubles": ", ".join(troubles),
        "correction": not options.no_correction,
        "catalog": str(options.catalog.name if options.catalog else "shipped"),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "python": sys.version.split()[0],
    }


def _built_in() -> Iterator[tuple[str, str, str]]:
    """Conversations of the built-in lines, over and over."""
    conversation = 0
    while True:
        for said, line in LINES:
            conversation += not said
            yield str(conversation), said, line


def _replayed(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield row["conversation"], row.get("reply_to") or "", row["text"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BenchmarkError(f"{path.name} is no replay file ({type(error).__name__}).") from None


def _quantile_ms(ordered: Sequence[float], share: float) -> float:
    return 1e3 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]
