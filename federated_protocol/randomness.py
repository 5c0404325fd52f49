"""Where randomness comes from: AES-128-CTR keyed by the operating system.

Everything random in the protocol takes a :data:`ByteSource`: a function from a number of bytes to that many bytes.
``os.urandom`` is one, :func:`secure_source` is a faster one for bulk use. Seeded sources
(``random.Random(7).randbytes``, ``numpy.random.default_rng(7).bytes``) belong in tests alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

ByteSource = Callable[[int], bytes]
"""``source(n)`` returns n fresh random bytes."""


def secure_source() -> ByteSource:
    """A new byte stream: AES-128-CTR under a key from ``os.urandom``. Use each from one thread at a time."""
    encryptor = Cipher(AES(os.urandom(16)), CTR(bytes(16))).encryptor()

    def source(size_bytes: int) -> bytes:
        return encryptor.update(bytes(size_bytes))

    return source
