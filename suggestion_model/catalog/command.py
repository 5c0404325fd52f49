"""``suggestion-model candidates LINE``: what a catalog proposes for a line, and how long that takes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from suggestion_model.catalog.errors import CatalogError
from suggestion_model.catalog.loading import load_catalog, shipped_catalog
from suggestion_model.types import Context


@click.command()
@click.argument("line")
@click.option("--earlier", multiple=True, help="A line said before in the same conversation; oldest first, repeatable.")
@click.option("--language", "code", default="en", show_default=True, help="Shipped catalog to ask: en, es.")
@click.option("--catalog", type=click.Path(path_type=Path), help="A query list or graph instead of a shipped one.")
@click.option("--sensitive", is_flag=True, help="Health, sexuality, religion, finance and crisis as well.")
@click.option("--limit", default=8, show_default=True, help="Candidates at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def candidates(
    line: str,
    earlier: tuple[str, ...],
    code: str,
    catalog: Path | None,
    sensitive: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Print the candidates for LINE, best first. A line that ends inside a word is taken as still being typed."""
    started = time.perf_counter()
    try:
        source = load_catalog(catalog, sensitive=sensitive) if catalog else shipped_catalog(code, sensitive=sensitive)
    except CatalogError as error:
        raise click.ClickException(str(error)) from None
    load_s = time.perf_counter() - started
    keys = []
    for end in range(1, len(line) + 1):
        started = time.perf_counter()
        source.candidates(Context(line[:end], earlier), limit)
        keys.append(time.perf_counter() - started)
    found = source.candidates(Context(line, earlier), limit)
    keys.sort()
    median_ms, longest_ms = (1e3 * keys[len(keys) // 2], 1e3 * keys[-1]) if keys else (0.0, 0.0)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "candidates": [
                        {"query": c.query, "category": c.category, "score": round(c.score, 4), "sensitive": c.sensitive}
                        for c in found
                    ],
                    "load_s": load_s,
                    "key_median_ms": median_ms,
                    "key_max_ms": longest_ms,
                },
                ensure_ascii=False,
            )
        )
        return
    for c in found:
        click.echo(f"{c.score:6.3f}  {c.query}  ({c.category}{', sensitive' if c.sensitive else ''})")
    if not found:
        click.echo("nothing")
    click.echo(f"loaded in {load_s:.2f} s; a key took {median_ms:.2f} ms (median), {longest_ms:.2f} ms at most")
