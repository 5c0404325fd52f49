"""Settings from a TOML file, environment variables and options, and as the TOML file that says them all."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from coordinator.errors import SettingsError
from coordinator.settings.checks import validate
from coordinator.settings.schema import Settings


def load_settings(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge defaults, the TOML file, ``COORDINATOR_*`` variables and options (``{"rounds.goal_count": 60}``).

    Raises
    ------
    SettingsError
        naming the setting and what it should be.
    """
    merged: dict[str, Any] = {}
    if path is not None:
        try:
            merged = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise SettingsError(f"cannot read the settings file {path}: {error.strerror}; check the path") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not valid TOML ({error}); correct that line") from None
    for name, text in (environment or {}).items():
        if name.startswith("COORDINATOR_") and (path_text := name.removeprefix("COORDINATOR_").lower()):
            _put(merged, path_text.split("__"), parse_value(text))
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(merged, dotted.split("."), value)
    if "authority_public_key" not in merged:
        raise SettingsError(
            "authority_public_key is not set: run `authority init DIR` and pass --authority-public-key DIR/public.key"
        )
    if isinstance(merged.get("training"), dict):
        defaults = msgspec.to_builtins(Settings(authority_public_key="").training)
        merged["training"] = {**defaults, **merged["training"]}
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}; see `coordinator serve --help` for the names") from None
    validate(settings)
    return settings


def as_toml(settings: Settings) -> str:
    """The text of a file from which :func:`load_settings` reads ``settings``."""
    lines = ["# Every setting of a coordinator; what each means: coordinator/settings/schema.py", ""]
    groups: list[tuple[str, dict[str, Any]]] = []
    for name, value in msgspec.to_builtins(settings).items():
        if isinstance(value, dict):
            groups.append((name, value))
        else:
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    for name, values in groups:
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def parse_value(text: str) -> Any:
    """Read the text of a setting: true, false, a number, or a plain text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        branch = tree.setdefault(name, {})
        if not isinstance(branch, dict):
            raise SettingsError(f"settings: {name} is a single value, {'.'.join(path)} does not exist")
        tree = branch
    tree[path[-1]] = value
