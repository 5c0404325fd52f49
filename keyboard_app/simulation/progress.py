"""What a fleet says while it works: one JSON object a line on standard output, numbers and names of steps only.

There is no field for a text, so nothing typed can slip into a log through here.
"""

from __future__ import annotations

import enum
import sys
import threading
from typing import IO

import msgspec


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all progress messages; ``shard`` counts from 1."""

    shard: int


class FleetReady(Message, frozen=True, tag="ready"):
    """All devices of the shard are built."""

    devices: int
    lines: int
    """Lines they are going to type."""
    rss_mib: float


class Typing(Message, frozen=True, tag="typing"):
    """Progress within one slice of days."""

    slice: int
    """Counts from 1."""
    done: int
    """Devices that have typed their slice."""
    devices: int


class VersionTally(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Lines typed, queries examined and taps drawn."""

    lines: int
    offers: int
    clicks: int


class Typed(Message, frozen=True, tag="typed"):
    """One slice is typed."""

    slice: int
    by_version: dict[int, VersionTally]
    """By the version that ranked; the holdback, which stays on version 0, is left out."""
    lines: int
    seconds: float


class Joining(Message, frozen=True, tag="joining"):
    """The devices are idle, charging and unmetered; how many are done with this round."""

    slice: int
    done: int
    devices: int


class Vanished(Message, frozen=True, tag="vanished"):
    """A device was made to die before it could send this phase's message."""

    slice: int
    phase: str


class RoundOver(Message, frozen=True, tag="round_over"):
    """All devices of the shard are done with a round."""

    slice: int
    versions: dict[int, int]
    """Devices by the model version they rank with now."""
    took_part: int
    vanished: int
    bytes_up: int
    """Sent by all devices of the shard in this round."""
    seconds: float


class StopReason(enum.StrEnum):
    """Why a fleet goes on without having finished a round."""

    TIMEOUT = "the round took too long"
    ABANDONED = "the round was abandoned"


class Trouble(Message, frozen=True, tag="trouble"):
    """A round did not end as it should; the fleet goes on with the next slice."""

    slice: int
    reason: StopReason
    unfinished: int
    """Devices that were still waiting."""


class FleetDone(Message, frozen=True, tag="done"):
    """Everything is typed and all rounds are over."""

    versions: dict[int, int]
    devices: int
    bytes_up: int
    rss_mib: float


Progress = FleetReady | Typing | Typed | Joining | Vanished | RoundOver | Trouble | FleetDone

_decoder = msgspec.json.Decoder(Progress)
_encoder = msgspec.json.Encoder()


def decode(line: bytes) -> Progress:
    """Read one line of a fleet's output.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    progress: Progress = _decoder.decode(line)
    return progress


class Reporter:
    """Writes progress messages, one a line, flushed at once; safe between threads."""

    def __init__(self, stream: IO[bytes] | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout.buffer
        self._lock = threading.Lock()

    def __call__(self, message: Progress) -> None:
        """Write one message."""
        with self._lock:
            self._stream.write(_encoder.encode(message) + b"\n")
            self._stream.flush()
