"""The file that carries the enrolment authority's public key to coordinators: text, one key, maybe a warning.

The first line that is no comment holds the key in hex. A comment with ``INSECURE DEMO`` says that anybody may enrol.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coordinator.errors import SettingsError

DEMO_MARK = "INSECURE DEMO"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """Whose certificates a coordinator accepts."""

    public_key: bytes
    """Ed25519, 32 bytes."""
    insecure_demo: bool

    def text(self) -> str:
        """The file's content."""
        warning = f"# {DEMO_MARK}: anybody may enrol here; such certificates prove nothing.\n"
        head = "# Ed25519 public key of the enrolment authority, for `coordinator serve --authority-public-key`.\n"
        return head + (warning if self.insecure_demo else "") + self.public_key.hex() + "\n"


def read_trust_anchor(source: str) -> TrustAnchor:
    """Read ``source``: 64 hex digits, or the path of a file as written by ``authority init``.

    Raises
    ------
    SettingsError
        when it is neither.
    """
    key = _key(source)
    if key is not None:
        return TrustAnchor(key, insecure_demo=False)
    try:
        lines = Path(source).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError):
        raise SettingsError(
            "--authority-public-key is neither 64 hexadecimal digits nor a readable file: "
            "run `authority init DIR` and pass DIR/public.key"
        ) from None
    keys = [key for line in lines if not line.startswith("#") and (key := _key(line)) is not None]
    if len(keys) != 1:
        raise SettingsError(f"{source} does not hold one public key: pass the public.key that `authority init` wrote")
    return TrustAnchor(keys[0], any(line.startswith("#") and DEMO_MARK in line for line in lines))


def _key(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None
