"""What the keyboard learned of the person's own words: runs of up to three words, counted on the device.

The same rules as for the log (docs/local-log.md): text is redacted before it is counted, password and no-learning
fields never get here, what was not used for :attr:`WordMemory.retention_days` is deleted, deleted means overwritten,
every row can be seen and deleted one by one, and nothing of it ever leaves the device.

It also keeps what the person does not want: words that were sent away, and corrections that were taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from data_logging import LogBusyError, LogRecovered, redact
from data_logging.queries import first_row
from data_logging.storage import Storage
from keyboard_app.text.tokens import sentences

LONGEST_RUN = 3
MOST_ROWS = 30_000
"""Runs of words kept; those not used for longest go first."""
_DAY_S = 86_400.0
_SPACE = " "

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS runs (
        language TEXT NOT NULL,
        before TEXT NOT NULL,
        word TEXT NOT NULL,
        written TEXT NOT NULL,
        count INTEGER NOT NULL,
        last_used REAL NOT NULL,
        PRIMARY KEY (language, before, word)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS unwanted (
        language TEXT NOT NULL,
        typed TEXT NOT NULL,
        word TEXT NOT NULL,
        since REAL NOT NULL,
        PRIMARY KEY (language, typed, word)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
)
_COUNT = """
    INSERT INTO runs (language, before, word, written, count, last_used) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET count = count + excluded.count, written = excluded.written, last_used = excluded.last_used
"""
START = "^"
"""Stands before the first word of a sentence."""


@dataclass(frozen=True, slots=True)
class LearnedWord:
    """One word the person uses."""

    language: str
    word: str
    """As last written."""
    count: int
    last_used: float
    """Unix time in seconds."""


@dataclass(slots=True)
class _Runs:
    """The runs of one language in memory: run before a word ("" for none) -> word -> count."""

    counts: dict[str, dict[str, int]]
    totals: dict[str, int]
    written: dict[str, str]
    unwanted: set[tuple[str, str]]


class WordMemory:
    """Words and runs of words of one person. Safe to open from several threads; look-ups read memory only.

    Parameters
    ----------
    path
        The SQLite file; made when absent. A damaged one is set aside, see :attr:`recovered`.
    clock
        Unix time in seconds.
    retention_days
        What was not used for so long is deleted when the memory is opened, then once a day of learning.

    Raises
    ------
    LogUnavailableError
        When the file cannot be opened or written.
    """

    def __init__(self, path: Path | str, clock: Callable[[], float] = time.time, retention_days: float = 60.0) -> None:
        self.clock = clock
        self.retention_days = retention_days
        self._storage = Storage(Path(path), migrate=_migrate)
        self._runs: dict[str, _Runs] = {}
        self._expiry_due = 0.0
        self._expire_daily()
        self._enabled = self._storage.run(_enabled)

    @property
    def path(self) -> Path:
        """The memory's file."""
        return self._storage.path

    @property
    def recovered(self) -> LogRecovered | None:
        """Set when a damaged file was set aside."""
        return self._storage.recovered

    def close(self) -> None:
        """Close the connections; the object stays usable."""
        self._storage.close()

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(self, line: str, language: str) -> int:
        """Count the words of a sent line, redacted first; returns how many words were counted.

        Raises
        ------
        LogError
            When the file cannot be written; nothing is counted then.
        """
        if not self._enabled:
            return 0
        runs: dict[tuple[str, str], tuple[str, int]] = {}
        words = 0
        for sentence in sentences(redact(line)):
            earlier = [START]
            for place, written in enumerate(sentence):
                word = written.lower()
                # The first word of a sentence has its capital from there.
                kept = word if place == 0 and written[1:] == word[1:] else written
                for length in range(min(len(earlier), LONGEST_RUN - 1) + 1):
                    run = (_SPACE.join(earlier[len(earlier) - length :]) if length else "", word)
                    runs[run] = (kept, runs.get(run, ("", 0))[1] + 1)
                earlier.append(word)
                words += 1
        now = self.clock()
        rows = [(language, before, word, kept, count, now) for (before, word), (kept, count) in runs.items()]
        if rows:
            loaded = self._load(language)
            self._storage.write(lambda db: _add(db, rows))
            for _, before, word, kept, count, _ in rows:
                _count_in(loaded, before, word, kept, count)
        self._expire_daily()
        return words

    def dislike(self, language: str, word: str, typed: str = "") -> None:
        """Never offer ``word`` again, or, with ``typed``, never as a correction of it."""
        pair = (typed.lower(), word.lower())
        now = self.clock()
        loaded = self._load(language)
        self._storage.write(
            lambda db: db.execute("INSERT OR REPLACE INTO unwanted VALUES (?, ?, ?, ?)", (language, *pair, now))
        )
        loaded.unwanted.add(pair)

    # -- looking up, from memory -----------------------------------------------------------------------------------

    def count(self, language: str, word: str, before: Iterable[str] = ()) -> int:
        """How often ``word`` (lower case) was written, after the run ``before`` where one is given."""
        return self._load(language).counts.get(_SPACE.join(before), {}).get(word, 0)

    def total(self, language: str, before: Iterable[str] = ()) -> int:
        """How often any word was written after ``before``."""
        return self._load(language).totals.get(_SPACE.join(before), 0)

    def following(self, language: str, before: Iterable[str]) -> dict[str, int]:
        """Words that followed the run ``before``, lower case, with their counts. Not to be changed."""
        return self._load(language).counts.get(_SPACE.join(before), {})

    def written(self, language: str, word: str) -> str | None:
        """A lower-case word as the person writes it; None when it was never written."""
        return self._load(language).written.get(word)

    def is_unwanted(self, language: str, word: str, typed: str = "") -> bool:
        """Whether a word was sent away, or was taken back as the correction of ``typed``."""
        return (typed.lower(), word.lower()) in self._load(language).unwanted

    # -- what the person can see and do ----------------------------------------------------------------------------

    def words(self, *, limit: int | None = None) -> list[LearnedWord]:
        """Learned words of all languages, the one used last first."""
        rows = self._storage.run(
            lambda db: db.execute(
                "SELECT language, written, count, last_used FROM runs WHERE before = '' "
                "ORDER BY last_used DESC, word LIMIT ?",
                (-1 if limit is None else limit,),
            ).fetchall()
        )
        return [LearnedWord(*row) for row in rows]

    def unwanted(self) -> list[tuple[str, str, str]]:
        """(language, typed, word): what is never offered; typed is empty for a word that was sent away altogether."""
        return self._storage.run(
            lambda db: db.execute("SELECT language, typed, word FROM unwanted ORDER BY since DESC").fetchall()
        )

    def forget(self, word: str) -> int:
        """Delete every run that holds ``word``, and its bytes; returns the number of runs. It may be learned again.

        Raises
        ------
        LogBusyError
            When another process reads the file: the rows are gone, their bytes go with the next deletion.
        """
        word = word.lower()

        def remove(db: Database) -> int:
            padded = f"% {word} %"
            return db.execute("DELETE FROM runs WHERE word = ? OR ' ' || before || ' ' LIKE ?", (word, padded)).rowcount

        return self._deleted(self._storage.write(remove))

    def allow(self, language: str, word: str, typed: str = "") -> None:
        """Take back :meth:`dislike`."""
        self._storage.write(
            lambda db: db.execute(
                "DELETE FROM unwanted WHERE language = ? AND typed = ? AND word = ?",
                (language, typed.lower(), word.lower()),
            )
        )
        self._runs.clear()

    def erase(self) -> int:
        """Delete everything, files set aside included; returns the number of runs. Settings stay."""

        def remove(db: Database) -> int:
            db.execute("DELETE FROM unwanted")
            return db.execute("DELETE FROM runs").rowcount

        runs = self._storage.write(remove)
        self._storage.remove_set_aside()
        return self._deleted(runs)

    def export(self) -> dict[str, Any]:
        """Everything it holds, ready for ``json.dumps``."""
        return {
            "exported_at": self.clock(),
            "retention_days": self.retention_days,
            "learning": self.enabled,
            "runs": self._storage.run(
                lambda db: list(db.query("SELECT language, before, word, written, count, last_used FROM runs"))
            ),
            "unwanted": self._storage.run(
                lambda db: list(db.query("SELECT language, typed, word, since FROM unwanted"))
            ),
        }

    @property
    def enabled(self) -> bool:
        """False after the person switched learning of words off."""
        return self._enabled

    def set_enabled(self, enabled: bool) -> None:
        """Switch learning of words on or off. What is there stays until it is erased or expires."""
        value = "on" if enabled else "off"
        self._storage.write(
            lambda db: db.execute("INSERT OR REPLACE INTO settings (name, value) VALUES ('learning', ?)", (value,))
        )
        self._enabled = enabled

    def expire(self) -> int:
        """Delete what was not used for ``retention_days``, and the oldest beyond :data:`MOST_ROWS`."""
        oldest = self.clock() - self.retention_days * _DAY_S

        def remove(db: Database) -> int:
            gone = db.execute("DELETE FROM runs WHERE last_used < ?", (oldest,)).rowcount
            spare = first_row(db, "SELECT count(*) FROM runs")[0] - MOST_ROWS
            if spare > 0:
                gone += db.execute(
                    "DELETE FROM runs WHERE (language, before, word) IN "
                    "(SELECT language, before, word FROM runs ORDER BY last_used, count LIMIT ?)",
                    (spare,),
                ).rowcount
            return gone

        gone = self._storage.write(remove)
        return self._deleted(gone) if gone else 0

    def _deleted(self, rows: int) -> int:
        self._runs.clear()
        self._storage.scrub()
        return rows

    def _expire_daily(self) -> None:
        now = self.clock()
        # A clock that jumped back must not put the next expiry off for years.
        if now < self._expiry_due <= now + _DAY_S:
            return
        self._expiry_due = now + _DAY_S
        try:
            self.expire()
        except LogBusyError:  # the rows are deleted; their bytes go with the next deletion
            return

    def _load(self, language: str) -> _Runs:
        found = self._runs.get(language)
        if found is None:
            found = self._storage.run(lambda db: _read(db, language))
            self._runs[language] = found
        return found


def _migrate(db: Database) -> None:
    for statement in _TABLES:
        db.execute(statement)


def _enabled(db: Database) -> bool:
    row = first_row(db, "SELECT value FROM settings WHERE name = 'learning'")
    return row is None or row[0] != "off"


def _add(db: Database, rows: list[tuple[str, str, str, str, int, float]]) -> None:
    for row in rows:
        db.execute(_COUNT, row)


def _read(db: Database, language: str) -> _Runs:
    runs = _Runs({}, {}, {}, set())
    for before, word, written, count in db.execute(
        "SELECT before, word, written, count FROM runs WHERE language = ?", (language,)
    ):
        _count_in(runs, before, word, written, count)
    runs.unwanted = set(db.execute("SELECT typed, word FROM unwanted WHERE language = ?", (language,)).fetchall())
    return runs


def _count_in(runs: _Runs, before: str, word: str, written: str, count: int) -> None:
    following = runs.counts.setdefault(before, {})
    following[word] = following.get(word, 0) + count
    runs.totals[before] = runs.totals.get(before, 0) + count
    if not before:
        runs.written[word] = written
