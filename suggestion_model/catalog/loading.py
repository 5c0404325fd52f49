"""Reading catalogs from files: plain query lists (CSV) and the knowledge graph (JSON)."""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

from suggestion_model.catalog.errors import CatalogError
from suggestion_model.catalog.graph import parse_graph, without_sensitive
from suggestion_model.catalog.graph_source import GraphSource
from suggestion_model.catalog.language import language
from suggestion_model.catalog.query_list import ListedQuery, QueryList

SHIPPED = "releases/v0/catalog.json.gz"
LARGEST_FILE_BYTES = 64 * 2**20
"""Unpacked size of a catalog file that is still accepted."""
LONGEST_QUERY = 200
"""Characters of a query."""


def load_catalog(path: Path | str, *, sensitive: bool = False) -> GraphSource | QueryList:
    """Load a catalog: ``.csv[.gz]`` with header ``query,category[,prior]``, or a knowledge graph's ``.json[.gz]``.

    Queries on health, sexuality, religion, finance and crisis are left out unless ``sensitive``.

    Raises:
        CatalogError: the file is missing, damaged or malformed; the message names the line and what to do.
    """
    path = Path(path)
    text = _text(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        graph = parse_graph(text, str(path))
        return GraphSource(graph if sensitive else without_sensitive(graph))
    return QueryList(_rows(text, path), language(), sensitive=sensitive)


def shipped_catalog(*, sensitive: bool = False) -> GraphSource | QueryList:
    """The knowledge graph that ships with the package; sensitive subjects only on request."""
    with importlib.resources.as_file(importlib.resources.files("suggestion_model").joinpath(SHIPPED)) as path:
        return load_catalog(path, sensitive=sensitive)


def _text(path: Path) -> str:
    """The file's text, unpacked when its name ends in ``.gz``."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CatalogError(
            f"{path}: cannot be read ({error}); give a readable .csv, .csv.gz, .json or .json.gz"
        ) from error
    if len(data) > LARGEST_FILE_BYTES:
        raise CatalogError(
            f"{path}: larger than {LARGEST_FILE_BYTES // 2**20} MiB unpacked; split it or drop rare queries"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CatalogError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error


def _rows(text: str, path: Path) -> Iterator[ListedQuery]:
    """Rows of a query list, checked."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    count = 0
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell.strip().casefold() for cell in row]
                if header[:2] != ["query", "category"] or header[2:] not in ([], ["prior"]):
                    raise CatalogError(
                        f"{path}, line {reader.line_num}: the header must be query,category or query,category,prior"
                    )
                continue
            yield _row(row, len(header), f"{path}, line {reader.line_num}")
            count += 1
    except csv.Error as error:
        raise CatalogError(f"{path}, line {reader.line_num}: {error}; check the quotes on that line") from error
    if header is None:
        raise CatalogError(f"{path}: empty; the first line must be query,category or query,category,prior")
    if not count:
        raise CatalogError(f"{path}: no queries after the header; add one row a query")


def _row(row: list[str], columns: int, where: str) -> ListedQuery:
    if len(row) != columns:
        raise CatalogError(
            f"{where}: {len(row)} values where the header has {columns}; quote queries that hold a comma"
        )
    query, category = " ".join(row[0].split()), " ".join(row[1].split())
    if not query or not category:
        raise CatalogError(f"{where}: the {'category' if query else 'query'} is empty; fill it in or delete the line")
    if len(query) > LONGEST_QUERY:
        raise CatalogError(f"{where}: a query of {len(query)} characters; shorten it to {LONGEST_QUERY}")
    prior: float | None = None
    if columns == 3 and row[2].strip():
        try:
            prior = float(row[2])
        except ValueError:
            prior = math.nan
        if not math.isfinite(prior) or prior < 0:
            raise CatalogError(f"{where}: the prior must be a number of 0 or more, or be left empty")
    return ListedQuery(query, category, prior)
