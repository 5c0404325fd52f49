"""Replay files: what people typed, line by line, for typists to type again.

One JSON object a line, sorted by time, plain (``.jsonl``) or compressed (``.jsonl.gz``). The device is shown
:attr:`ReplayLine.text`, :attr:`ReplayLine.reply_to` and the time, and uses :attr:`ReplayLine.conversation` as an
equality key; everything else is for the typist and for scoring. Errors name the line and what is wrong with it, never
the text.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal, cast

import msgspec

LONGEST_LINE_BYTES = 65_536
"""A longer line in a replay file is broken: nobody types one."""

OnError = Literal["raise", "skip"]


class ReplayError(ValueError):
    """A replay file cannot be used; the message says where, what is wrong and what to do, never what was typed."""


class ReplayLine(msgspec.Struct, frozen=True, gc=False):
    """One typed line. Fields beyond these are ignored; a missing required one breaks the line."""

    user: str
    conversation: str
    timestamp: datetime
    """When the line was sent; without an offset it is read as UTC."""
    text: str
    reply_to: str | None = None
    """What the other side had just said."""
    kind: str = "chat"
    """``chat``, where nothing is ever wanted, or ``task``."""
    wanted: tuple[str, ...] = ()
    """Queries this person would search for now. For the typist and for scoring only."""
    soon: tuple[str, ...] = ()
    """Queries wanted on the next two lines."""
    topic: str = ""
    number: int = 0
    """Line number in its file, from 1: with ``user`` it names the line in random draws."""

    @property
    def time(self) -> float:
        """Unix time in seconds at which the line was sent."""
        return self.timestamp.timestamp()


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A broken line that a tolerant reader passed over."""

    number: int
    problem: str


def read_replay(
    path: Path | str,
    *,
    on_error: OnError = "raise",
    users: Container[str] | None = None,
    skipped: Callable[[SkippedLine], None] | None = None,
) -> Iterator[ReplayLine]:
    """Stream the lines of a replay file in the order of time.

    Arguments:
        path: a ``.jsonl`` file, or one compressed with gzip (recognised by its content).
        on_error: ``raise`` stops at the first broken line; ``skip`` passes over it and goes on.
        users: yield only the lines of these people; the others are still checked.
        skipped: told about every line that was passed over.

    Raises:
        ReplayError: the file cannot be opened, or a line is broken, unsorted or cut off.
    """
    path = Path(path)
    decoder = msgspec.json.Decoder(ReplayLine)
    last: datetime | None = None
    number = 0
    try:
        with _open(path) as file:
            line: ReplayLine | None
            problem: str | None
            while True:
                raw = file.readline(LONGEST_LINE_BYTES + 1)
                if not raw:
                    return
                number += 1
                if len(raw) > LONGEST_LINE_BYTES:
                    _pass_over(file)
                    line, problem = None, f"it is longer than {LONGEST_LINE_BYTES} bytes"
                else:
                    line, problem = _decode(decoder, raw, number)
                if line is not None and last is not None and line.timestamp < last:
                    problem = "its timestamp is earlier than the line before it; sort the file by time"
                if problem is not None or line is None:
                    problem = problem or "it is empty"
                    if on_error == "raise":
                        raise ReplayError(f"{path.name}, line {number}: {problem} (or read on with on_error='skip')")
                    if skipped is not None:
                        skipped(SkippedLine(number, problem))
                    continue
                last = line.timestamp
                if users is None or line.user in users:
                    yield line
    except FileNotFoundError as error:
        raise ReplayError(f"there is no replay file at {path}; check the path given with --replay") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReplayError(f"{path.name} is cut off or corrupt after line {number}; copy the file again") from error
    except OSError as error:
        raise ReplayError(f"{path.name} cannot be read: {error.strerror or type(error).__name__}") from error


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


def _pass_over(file: IO[bytes]) -> None:
    """Read to the end of an overlong line."""
    while (rest := file.readline(LONGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def _decode(decoder: msgspec.json.Decoder[ReplayLine], raw: bytes, number: int) -> tuple[ReplayLine | None, str | None]:
    """Decode one line; (line, None) or (None, what is wrong), which never repeats anything of the line."""
    if not raw.strip():
        return None, "it is empty"
    try:
        line = decoder.decode(raw)
    except msgspec.ValidationError as error:
        return None, f"it is not a replay line: {error}"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, "it is not valid JSON"
    if not line.user or not line.conversation:
        return None, "its `user` or `conversation` is empty"
    stamp = line.timestamp if line.timestamp.tzinfo else line.timestamp.replace(tzinfo=UTC)
    return msgspec.structs.replace(line, timestamp=stamp, number=number), None
