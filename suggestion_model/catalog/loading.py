"""Reading catalogs from files: plain query lists (CSV) and the knowledge graph (JSON)."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.resources
import io
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from suggestion_model.catalog.errors import CatalogError
from suggestion_model.catalog.graph import parse_graph, shipped_graph, without_sensitive
from suggestion_model.catalog.graph_source import GraphSource
from suggestion_model.catalog.language import language
from suggestion_model.catalog.query_index import ListedQuery, QueryIndex, build_index, load_index, save_index
from suggestion_model.catalog.query_list import QueryList

KEPT_INDEXES = 4
"""Indexes of query lists that stay in a cache, the newest."""
LARGEST_FILE_BYTES = 64 * 2**20
"""Unpacked size of a catalog file that is still accepted."""
LONGEST_QUERY = 200
"""Characters of a query."""
_LANGUAGE = re.compile(rb"(?:\xef\xbb\xbf)?#\s*language:\s*([a-z]{2,3})\s*$")


def load_catalog(path: Path | str, *, sensitive: bool = False, cache: Path | None = None) -> GraphSource | QueryList:
    """Load a catalog: ``.csv[.gz]`` with header ``query,category[,prior]``, or a knowledge graph's ``.json[.gz]``.

    A query list may name its language in a first line ``# language: es``; without it is English. Queries on health,
    sexuality, religion, finance and crisis are left out unless ``sensitive``.

    Args:
        path: the file.
        sensitive: whether sensitive subjects are in.
        cache: a folder of the device. The index of a query list is kept there and mapped into memory when the same
            list is loaded again, which then takes milliseconds.

    Raises:
        CatalogError: the file is missing, damaged or malformed; the message names the line and what to do.
    """
    path = Path(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        graph = parse_graph(_text(path), str(path))
        return GraphSource(graph if sensitive else without_sensitive(graph))
    tables = language(_language_of(path))
    kept = cache / f"{_recipe(path, sensitive)}.index" if cache is not None else None
    index = load_index(kept) if kept is not None else None
    if index is None:
        index = build_index(_rows(_text(path), path), tables, sensitive=sensitive)
        if kept is not None:
            index = _keep(index, kept)
    return QueryList(index, tables)


def shipped_catalog(code: str = "en", *, sensitive: bool = False) -> GraphSource:
    """The knowledge graph of a language that ships with the package; sensitive subjects only on request.

    Raises:
        CatalogError: none ships for that language.
    """
    graph = shipped_graph(code)
    return GraphSource(graph if sensitive else without_sensitive(graph))


def _language_of(path: Path) -> str:
    """Language that a query list names in its first line."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            found = _LANGUAGE.match(file.readline(LONGEST_QUERY))
    except (OSError, EOFError, zlib.error):
        return "en"  # reading the whole file says what is wrong with it
    return found[1].decode() if found else "en"


def _recipe(path: Path, sensitive: bool) -> str:
    """Digest of everything that an index is made from: the list, the tables of languages, this code."""
    digest = hashlib.sha256(b"sensitive" if sensitive else b"ordinary")
    package = importlib.resources.files("suggestion_model.catalog")
    made_by = [package.joinpath(f"{name}.py") for name in ("query_index", "reading", "text", "language")]
    tables = sorted(package.joinpath("languages").iterdir(), key=lambda file: file.name)
    for file in (path, *made_by, *tables):
        if file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _keep(index: QueryIndex, kept: Path) -> QueryIndex:
    """Write an index and map it; the oldest of more than :data:`KEPT_INDEXES` go. Where that fails, go on without."""
    try:
        save_index(index, kept)
        others = sorted(kept.parent.glob("*.index"), key=lambda file: file.stat().st_mtime)
        for old in others[:-KEPT_INDEXES]:
            old.unlink(missing_ok=True)
    except OSError:
        return index
    return load_index(kept) or index


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
            if not any(cell.strip() for cell in row) or (header is None and row[0].startswith("#")):
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
