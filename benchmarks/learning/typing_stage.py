"""The data stage: everybody types in every world, on several workers, kept on disk and resumed after a kill.

People are dealt into chunks; a finished chunk is a file. When all chunks of a world are there they are joined into one
folder of plain arrays, which the training processes map into memory.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import BenchmarkError
from benchmarks._workers import Workers
from benchmarks.learning.cache import SEEN_BY_TYPING, UNSEEN_BY_TYPING, digest_of, digest_of_code, digest_of_file
from benchmarks.learning.worlds import EXAMPLE_FIELDS, ROW_FIELDS, Array, Booth, Rows, World, join, stack
from keyboard_app.device.files import write_atomically
from keyboard_app.simulation.splits import is_held_out, load_people, outline

PEOPLE_A_CHUNK = 20

Progress = Callable[[int, int], None]
"""Told how many people are done, of how many."""


@dataclass(frozen=True)
class TypedWorld:
    """What everybody's log holds in one world."""

    users: tuple[str, ...]
    rows: Rows
    examples: dict[str, Array]
    """Columns of :class:`suggestion_model.types.Example` but label and weight, [n, ...] each; empty for a reference."""
    lines: Array
    """int64[people, 2, 2], lines typed by (person, training, chat)."""
    key: str
    """Names everything that went into it."""
    categories: tuple[str, ...]
    """Names of the categories by number."""
    topics: tuple[str, ...]
    """Names of the topics by number."""

    @property
    def may_train(self) -> Array:
        """bool[people]: who is not held out."""
        return np.array([not is_held_out(user) for user in self.users], bool)

    @property
    def scored(self) -> Array:
        """int64[m], rows that no device trains on."""
        return np.flatnonzero(~self.rows.training)

    @property
    def scored_lines(self) -> Array:
        """int64[2], lines typed that no device trains on: (task, chat); those without a candidate included."""
        return np.asarray(self.lines[:, 0, :].sum(axis=0))


@dataclass(frozen=True)
class Typed:
    """All worlds of one replay, and what it cost to type them."""

    worlds: dict[World, TypedWorld]
    lines: int
    """Lines typed when the worlds were made, over all of them; those taken from the cache included."""
    seconds: float
    """Wall-clock time of that."""


class TypingStage:
    """Types a replay, or takes it from the cache.

    Args:
        replay, catalog: files; None for the catalog that ships.
        cache: folder for what is kept.
        workers: who share the work.
        most_people: only the first so many people, for quick looks; None for all.
    """

    def __init__(
        self, replay: Path, catalog: Path | None, cache: Path, workers: Workers, most_people: int | None = None
    ) -> None:
        self._replay, self._catalog, self._workers = replay, catalog, workers
        self._cache = cache
        self._most_people = most_people
        self._base = digest_of(
            digest_of_file(replay),
            digest_of_file(catalog) if catalog is not None else "shipped",
            digest_of_code(SEEN_BY_TYPING, UNSEEN_BY_TYPING),
            str(most_people),
        )

    def key(self, world: World) -> str:
        """Names everything that goes into a world."""
        return digest_of(self._base, msgspec.json.encode(world, order="deterministic"))

    def type(self, worlds: Sequence[World], progress: Progress = lambda done, all_: None) -> Typed:
        """Make all worlds that are not there yet, and map them.

        Raises:
            ReplayError, CatalogError, BundleError: something cannot be read.
        """
        missing = [world for world in worlds if not (self._folder(world) / "done.json").exists()]
        users = self._users()
        if missing:
            self._make(missing, users, progress)
        found, lines, seconds = {}, 0, 0.0
        for world in worlds:
            cost = json.loads((self._folder(world) / "done.json").read_bytes())
            lines, seconds = lines + cost["lines"], seconds + cost["seconds"]
            found[world] = self._load(world, users)
        return Typed(found, lines, seconds)

    def _users(self) -> tuple[str, ...]:
        users = sorted(outline(self._replay).lines)
        if self._most_people is not None:
            users = users[: self._most_people]
        if not any(is_held_out(user) for user in users) or all(is_held_out(user) for user in users):
            raise BenchmarkError("too few people in the replay: some must train and some must not; give a longer one")
        return tuple(users)

    def _folder(self, world: World) -> Path:
        return self._cache / "typed" / self.key(world)

    def _make(self, worlds: Sequence[World], users: tuple[str, ...], progress: Progress) -> None:
        chunks = [
            tuple(range(start, min(start + PEOPLE_A_CHUNK, len(users))))
            for start in range(0, len(users), PEOPLE_A_CHUNK)
        ]
        done, began = 0, time.monotonic()
        job = _Job(self._replay, self._catalog, users, tuple(worlds), tuple(self._folder(world) for world in worlds))
        progress(0, len(users))
        for (_, chunk), _ in self._workers.each(_type_chunk, job, list(enumerate(chunks))):
            done += len(chunk)
            progress(done, len(users))
        seconds = time.monotonic() - began
        for world in worlds:
            self._join(world, len(chunks), seconds / len(worlds))

    def _join(self, world: World, chunks: int, seconds: float) -> None:
        folder = self._folder(world)
        parts = []
        for number in range(chunks):
            with np.load(folder / f"chunk-{number}.npz") as file:
                parts.append({name: file[name] for name in file.files})
        for name, array in join(parts).items():
            np.save(folder / f"{name}.npy", array)
        lines = int(sum(part["lines"].sum() for part in parts))
        write_atomically(folder / "done.json", json.dumps({"lines": lines, "seconds": seconds}).encode())
        for number in range(chunks):
            (folder / f"chunk-{number}.npz").unlink(missing_ok=True)

    def _load(self, world: World, users: tuple[str, ...]) -> TypedWorld:
        folder = self._folder(world)

        def column(name: str) -> Array:
            found: Array = np.load(folder / f"{name}.npy", mmap_mode="r")
            return found

        return TypedWorld(
            users=users,
            rows=Rows(**{name: np.asarray(column(name)) for name in ROW_FIELDS}),
            examples={
                name: column(f"example_{name}") for name in EXAMPLE_FIELDS if (folder / f"example_{name}.npy").exists()
            },
            lines=np.asarray(column("lines")),
            key=self.key(world),
            categories=tuple(column("name_category").tolist()),
            topics=tuple(column("name_topic").tolist()),
        )

    def forget(self, worlds: Sequence[World]) -> None:
        """Delete what is kept of these worlds."""
        for world in worlds:
            shutil.rmtree(self._folder(world), ignore_errors=True)


# -- in the worker processes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    replay: Path
    catalog: Path | None
    users: tuple[str, ...]
    worlds: tuple[World, ...]
    folders: tuple[Path, ...]


@lru_cache(maxsize=1)
def _booth(catalog: Path | None) -> Booth:
    return Booth(catalog)


def _type_chunk(job: _Job, numbered: tuple[int, tuple[int, ...]]) -> None:
    """Type one chunk of people in every world that lacks it."""
    number, chunk = numbered
    left = [
        (world, folder)
        for world, folder in zip(job.worlds, job.folders, strict=True)
        if not (folder / f"chunk-{number}.npz").exists()
    ]
    if not left:
        return
    booth = _booth(job.catalog)
    people = load_people(job.replay, outline(job.replay), [job.users[index] for index in chunk])
    found: list[list[tuple[int, dict[str, Any]]]] = [[] for _ in left]
    for index in chunk:
        columns = booth.type_days(people[job.users[index]], [world for world, _ in left])
        for place, column in enumerate(columns):
            found[place].append((index, column))
    for (_, folder), typed in zip(left, found, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".chunk-{number}.npz"
        with beside.open("wb") as file:
            np.savez(file, allow_pickle=False, **stack(typed))
        beside.replace(folder / f"chunk-{number}.npz")
