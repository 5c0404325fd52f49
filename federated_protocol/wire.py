"""Messages to bytes and back: deterministic MessagePack, bounded in size, silent about content.

msgspec bounds neither size nor depth and quotes field names of the input in its errors; this module is the one place
where bytes of a peer become values, so that both ends refuse the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

from federated_protocol.errors import MalformedMessage, MessageTooLarge

T = TypeVar("T")
D = TypeVar("D")

CONTENT_TYPE = "application/msgpack"
LARGEST_MESSAGE_BYTES = 8 * 1024 * 1024
"""No message of the protocol is larger than this."""

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_json_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
# msgspec looks at a struct class once, when the first decoder needs it, and a second thread that comes meanwhile gets
# the unfinished result and ends the process (msgspec 0.22): so decoders are made one at a time.
_making = threading.Lock()


def encode(message: msgspec.Struct) -> bytes:
    """Encode a message canonically: equal messages give equal bytes (no message holds a map)."""
    return _encoder.encode(message)


@overload
def decode(data: bytes | bytearray | memoryview, kind: type[T], *, limit_bytes: int = LARGEST_MESSAGE_BYTES) -> T: ...
@overload
def decode(data: bytes | bytearray | memoryview, kind: Any, *, limit_bytes: int = LARGEST_MESSAGE_BYTES) -> Any: ...
def decode(data: bytes | bytearray | memoryview, kind: Any, *, limit_bytes: int = LARGEST_MESSAGE_BYTES) -> Any:
    """Decode one message of type ``kind`` (a struct class, or a union of tagged ones).

    Raises:
        MessageTooLarge: more than ``limit_bytes``; nothing was parsed.
        MalformedMessage: anything else that is not exactly such a message. The input is never quoted.
    """
    _check_size(len(data), limit_bytes)
    decoder = _decoders.get(kind) or _prepared(_decoders, msgspec.msgpack.Decoder, kind)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError, MemoryError):
        raise _malformed(kind, "MessagePack") from None


@overload
def decode_json(data: bytes | str, kind: type[T], *, limit_bytes: int = LARGEST_MESSAGE_BYTES) -> T: ...
@overload
def decode_json(data: bytes | str, kind: Any, *, limit_bytes: int = LARGEST_MESSAGE_BYTES) -> Any: ...
def decode_json(data: bytes | str, kind: Any, *, limit_bytes: int = LARGEST_MESSAGE_BYTES) -> Any:
    """Like :func:`decode`, for the JSON form used in debugging (bytes are base64 there)."""
    _check_size(len(data), limit_bytes)
    decoder = _json_decoders.get(kind) or _prepared(_json_decoders, msgspec.json.Decoder, kind)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError, MemoryError):
        raise _malformed(kind, "JSON") from None


def prepare(kind: Any) -> None:
    """Let msgspec look at ``kind`` now, where it will be decoded by other means and by several threads."""
    _prepared(_decoders, msgspec.msgpack.Decoder, kind)


def encode_json(message: msgspec.Struct) -> bytes:
    """The JSON form of a message, for debugging."""
    return msgspec.json.encode(message)


def _prepared(made: dict[Any, D], make: Callable[[Any], D], kind: Any) -> D:
    with _making:
        decoder = made.get(kind)
        if decoder is None:
            decoder = made[kind] = make(kind)
        return decoder


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise MessageTooLarge(f"the message has {size_bytes} bytes, at most {limit_bytes} are accepted here")


def _malformed(kind: Any, form: str) -> MalformedMessage:
    name = getattr(kind, "__name__", "expected message")
    return MalformedMessage(
        f"the bytes are not a valid {name} in {form}; check that both ends run the same protocol version"
    )
