"""``keyboard-app log``: everything a person can do with what their keyboard logged. Mirrors :class:`ImpressionLog`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from data_logging import ImpressionLog, LogError, LoggedImpression
from keyboard_app.cli import LOG_FILE, default_home


@click.group()
@click.option(
    "--home", type=click.Path(path_type=Path), default=None, help="Folder of the device [default: the user's own]."
)
@click.pass_context
def log(ctx: click.Context, home: Path | None) -> None:
    """Inspect, delete, erase or export the local log. It never leaves this device."""
    ctx.obj = (home or default_home()) / LOG_FILE


_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@log.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Newest rows to show.")
@click.option("--text/--no-text", "with_text", default=False, help="Show the logged context as well.")
@_as_json
@click.pass_obj
def show(path: Path, limit: int, with_text: bool, as_json: bool) -> None:
    """Show the newest rows and how much there is."""
    with _opened(path) as opened:
        summary = opened.summary()
        rows = opened.impressions(newest_first=True, limit=limit)
    if as_json:
        _print({"file": str(path), "summary": asdict(summary), "impressions": [_row(row) for row in rows]})
        return
    click.echo(
        f"{path}: {summary.impressions} impressions, {summary.shown} shown, {summary.tapped} tapped, "
        f"{summary.lines} lines, {summary.size_bytes / 1024:.0f} KiB, logging {'on' if summary.enabled else 'off'}"
    )
    for row in rows:
        impression = row.impression
        when = datetime.fromtimestamp(impression.created_at).strftime("%Y-%m-%d %H:%M")
        click.echo(
            f"{row.id:>6}  {when}  {row.outcome:<9}  v{impression.model_version:<3} {impression.score:>7.2f}  "
            f"{impression.category:<16}  {impression.candidate}"
        )
        if with_text:
            click.echo("\n".join(f"        | {line}" for line in impression.context.split("\n")))


@log.command()
@click.argument("row_id", metavar="ID", type=int)
@_as_json
@click.pass_obj
def delete(path: Path, row_id: int, as_json: bool) -> None:
    """Delete one row for good."""
    with _opened(path) as opened:
        opened.delete(row_id)
    _say({"deleted": row_id}, f"Row {row_id} is gone.", as_json)


@log.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@_as_json
@click.pass_obj
def erase(path: Path, yes: bool, as_json: bool) -> None:
    """Delete everything for good, damaged files that were kept included."""
    if not yes and not as_json:
        click.confirm(f"Erase everything in {path}?", abort=True)
    with _opened(path) as opened:
        rows = opened.erase()
    _say({"erased": rows}, f"{rows} impressions erased.", as_json)


@log.command()
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write; standard output if none."
)
@_as_json
@click.pass_obj
def export(path: Path, output: Path | None, as_json: bool) -> None:
    """Export everything as JSON."""
    with _opened(path) as opened:
        content = opened.export()
    if output is None:
        _print(content)
        return
    try:
        output.touch(mode=0o600)
        output.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None
    count = len(content["impressions"])
    _say({"exported": count, "file": str(output)}, f"{count} impressions written to {output}.", as_json)


@log.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@_as_json
@click.pass_obj
def logging(path: Path, state: str, as_json: bool) -> None:
    """Switch logging on or off; what is there stays until it is erased."""
    with _opened(path) as opened:
        opened.set_enabled(state == "on")
    _say({"logging": state}, f"Logging is {state}.", as_json)


@contextmanager
def _opened(path: Path, clock: Callable[[], float] = time.time) -> Iterator[ImpressionLog]:
    if not path.exists():
        raise click.ClickException(f"There is no local log at {path}. Name the device's folder with --home.")
    try:
        opened = ImpressionLog(path, clock)
        try:
            if opened.recovered is not None:
                click.echo(str(opened.recovered), err=True)
            yield opened
        finally:
            opened.close()
    except LogError as error:
        raise click.ClickException(str(error)) from None


def _row(row: LoggedImpression) -> dict[str, Any]:
    return {"id": row.id, **asdict(row.impression), "outcome": row.outcome.value, "resolved_at": row.resolved_at}


def _print(content: object) -> None:
    click.echo(json.dumps(content, ensure_ascii=False))


def _say(content: object, sentence: str, as_json: bool) -> None:
    if as_json:
        _print(content)
    else:
        click.echo(sentence)
