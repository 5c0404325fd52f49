"""What the commands share: where the database is, and how a report is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from coordinator.errors import CoordinatorError
from coordinator.settings import Settings, load_settings

if TYPE_CHECKING:
    from coordinator.reports import Reports

_NO_KEY = "00" * 32  # reports need no authority


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --config and --database."""
    for option in (
        click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML, see `coordinator init`."),
        click.option("--database", help="URL (sqlite:///FILE, postgresql+psycopg://...) or the path of a SQLite file."),
    ):
        command = option(command)
    return command


def settings_of(config: Path | None, database: str | None) -> Settings:
    """The settings of a command that needs no authority."""
    overrides: dict[str, Any] = {} if config is not None else {"authority_public_key": _NO_KEY}
    if database is not None:
        overrides["database_url"] = as_url(database)
    return load_settings(config, environment=os.environ, overrides=overrides)


def open_reports(config: Path | None, database: str | None) -> Reports:
    """Reports over an existing database; raises :class:`CoordinatorError` when there is none."""
    from coordinator.reports import Reports
    from coordinator.storage import Database

    settings = settings_of(config, database)
    path = settings.database_url.removeprefix("sqlite:///")
    if path != settings.database_url and not Path(path).exists():
        raise CoordinatorError(f"there is no database {path}: pass --database or --config of the coordinator")
    return Reports(Database(settings.database_url), settings)


def show(as_json: bool, report: object, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a report as JSON or its rows as a table."""
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)


def as_url(text: str) -> str:
    """A database URL from a URL or the path of a SQLite file."""
    return text if "://" in text else f"sqlite:///{text}"
