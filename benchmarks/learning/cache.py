"""Where the laboratory keeps what was costly, under names that follow from everything that went into it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keyboard_app.device.files import write_atomically

ROOT = Path(__file__).parents[2]

SEEN_BY_TYPING = (
    "suggestion_model",
    "data_logging",
    "keyboard_app/suggestions",
    "keyboard_app/simulation/person.py",
    "keyboard_app/simulation/typist.py",
    "keyboard_app/simulation/relevance.py",
    "keyboard_app/simulation/splits.py",
    "keyboard_app/simulation/replay.py",
    "benchmarks/learning/worlds.py",
    "benchmarks/learning/reference.py",
)
"""Code and release files that decide what a log holds."""
UNSEEN_BY_TYPING = (
    "authoring",
    "cli.py",
    "training.py",
    "personalization.py",
    "metrics.py",
    "sparse.py",
    "algorithms",
    "__pycache__",
)
SEEN_BY_TRAINING = (
    "suggestion_model/training.py",
    "suggestion_model/personalization.py",
    "suggestion_model/algorithms",
    "suggestion_model/sparse.py",
    "suggestion_model/metrics.py",
    "suggestion_model/runtime.py",
    "coordinator/aggregation",
    "coordinator/settings/schema.py",
    "federated_protocol/update_codec",
    "benchmarks/learning",
)
UNSEEN_BY_TRAINING = ("report.py", "plots.py", "command.py", "__init__.py", "__pycache__")


def default_folder() -> Path:
    """The user's cache folder for this laboratory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "federated-keyboard" / "laboratory"


def digest_of(*parts: str | bytes) -> str:
    """A short name (hex) for what ``parts`` say together."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.hexdigest()[:20]


def digest_of_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_code(places: Iterable[str], without: Iterable[str]) -> str:
    """One digest over all files at ``places``, relative to the project's root; names in ``without`` are left out."""
    left_out = set(without)
    found = hashlib.sha256()
    for place in places:
        top = ROOT / place
        files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        for path in files:
            inside = path.relative_to(ROOT)
            if not left_out & set(inside.parts):
                found.update(f"{inside.as_posix()}\0{digest_of_file(path)}\n".encode())
    return found.hexdigest()


class Shelf:
    """Small results by name: one JSON file each, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> Any | None:
        """What was put under ``name``; None when there is nothing, or nothing readable."""
        try:
            return json.loads((self.folder / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, name: str, value: Any) -> None:
        """Keep ``value`` under ``name``."""
        write_atomically(self.folder / f"{name}.json", json.dumps(value).encode())
