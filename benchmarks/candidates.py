"""Candidates from a large query list: time to load, memory, and time per suggestion, at every key and at a whole line.

The list is made of real queries where ``--data`` holds any, and filled up with queries that the shipped graph's
templates and entities make. It is loaded twice by processes of their own: first from the file, then from the index
that the first one kept.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks import BenchmarkError, Value
from benchmarks.keystroke import LINES
from suggestion_model.catalog import CatalogError, load_catalog
from suggestion_model.catalog.graph import KnowledgeGraph, Slot, segments, shipped_graph
from suggestion_model.types import Context

DESCRIPTION = "load time, memory and time per suggestion of a query list of 100,000"

GOAL_P99_MS = 4.0
_ROUNDS = 3


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Make a list, load it, ask it.

    Raises:
        BenchmarkError: a file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks candidates", description=DESCRIPTION)
    parser.add_argument("--queries", type=int, default=100_000, help="length of the list (default 100,000)")
    parser.add_argument("--data", type=Path, help="folder with queries.jsonl.gz and catalog_*.csv.gz to begin with")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "list.csv", Path(folder) / "cache"
        try:
            real = _write(path, options.queries, options.data)
            first = _measured(path, cache)
            kept = _measured(path, cache)
            index_bytes = sum(file.stat().st_size for file in cache.iterdir())
            keys, lines = _times(path, cache, time.perf_counter)
            keys_cpu, lines_cpu = _times(path, cache, time.thread_time)
        except (CatalogError, OSError, ValueError, KeyError) as error:
            raise BenchmarkError(str(error)) from None
        list_bytes = path.stat().st_size
    return {
        "queries": options.queries,
        "real_queries": real,
        "list_mib": list_bytes / 2**20,
        "index_mib": index_bytes / 2**20,
        "first_load_s": first[0],
        "first_load_rss_mib": first[1],
        "load_s": kept[0],
        "load_rss_mib": kept[1],
        "private_mib": kept[2],
        "keys": len(keys),
        "key_p50_ms": _quantile_ms(keys, 0.5),
        "key_p99_ms": _quantile_ms(keys, 0.99),
        "key_cpu_p99_ms": _quantile_ms(keys_cpu, 0.99),
        "lines": len(lines),
        "line_p50_ms": _quantile_ms(lines, 0.5),
        "line_p99_ms": _quantile_ms(lines, 0.99),
        "line_cpu_p99_ms": _quantile_ms(lines_cpu, 0.99),
        "goal_p99_ms": GOAL_P99_MS,
        "python": sys.version.split()[0],
    }


def _write(path: Path, count: int, data: Path | None) -> int:
    """Write the list; returns how many of its queries are real."""
    found: dict[str, str] = {}
    if data is not None:
        for query, category in _real(data):
            if len(found) < count:
                found.setdefault(" ".join(query.split())[:200], category)
    real = len(found)
    made = _generated(shipped_graph(), random.Random(0))
    while len(found) < count:
        query, category = next(made)
        found.setdefault(query, category)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("query", "category"))
        rows.writerows(found.items())
    return real


def _real(data: Path) -> Iterator[tuple[str, str]]:
    with gzip.open(data / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["query"], row["source"]
    for catalog in sorted(data.glob("catalog_*.csv.gz")):
        with gzip.open(catalog, "rt", encoding="utf-8", newline="") as lines:
            for named in csv.DictReader(lines):
                yield named["query"], named["category"]


def _generated(graph: KnowledgeGraph, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Instances of random templates, for ever."""
    entities = {kind.name: kind.entities for kind in graph.types}
    templates = [(category.name, segments(text)) for category in graph.categories for text in category.templates]
    templates = [entry for entry in templates if any(isinstance(part, Slot) for part in entry[1])]
    while True:
        category, parts = rng.choice(templates)
        yield (
            "".join(part if isinstance(part, str) else rng.choice(entities[part.type]).name for part in parts),
            category,
        )


def _measured(path: Path, cache: Path) -> tuple[float, float, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_load, path, cache).result()


def _load(path: Path, cache: Path) -> tuple[float, float, float]:
    """(seconds, growth of resident memory in MiB, and the same without pages of files)."""
    process = psutil.Process()
    before = process.memory_info()
    started = time.perf_counter()
    source = load_catalog(path, cache=cache)
    took = time.perf_counter() - started
    source.candidates(Context("thai restaurants in oakland"))
    after = process.memory_info()
    mapped = getattr(after, "shared", 0) - getattr(before, "shared", 0)
    return took, (after.rss - before.rss) / 2**20, (after.rss - before.rss - mapped) / 2**20


def _times(path: Path, cache: Path, clock: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Seconds of each suggestion, sorted: at every key, and at whole lines whose conversation is new each time."""
    source = load_catalog(path, cache=cache)
    keys: list[float] = []
    lines: list[float] = []
    for turn in range(_ROUNDS + 1):
        if turn == 1:
            keys.clear()
        earlier: tuple[str, ...] = ()
        for said, line in LINES:
            # Numbers of the turn keep what the source remembers of earlier lines from helping.
            earlier = (*earlier, *([said] if said else []), f"{turn}")[-12:]
            for end in range(1, len(line) + 1):
                context = Context(line[:end], earlier)
                started = clock()
                source.candidates(context)
                (lines if end == 1 else keys).append(clock() - started)
            started = clock()
            source.candidates(Context(line, (*earlier, "ok")[-12:]))
            lines.append(clock() - started)
            earlier = (*earlier, line)[-12:]
    return sorted(keys), sorted(lines)


def _quantile_ms(ordered: Sequence[float], share: float) -> float:
    return 1e3 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]
