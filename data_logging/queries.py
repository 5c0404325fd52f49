"""Queries whose statements are over when they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database


def first_row(db: Database, query: str, parameters: Sequence[object] = ()) -> Any:
    """The first row of what a query finds, None when that is nothing.

    The query is run to its end: one that is not stays under way for as long as anybody holds its cursor (a profiler or
    a debugger that looks at the frame is enough), and transactions cannot be committed meanwhile, nor bytes scrubbed.
    """
    rows = db.execute(query, parameters).fetchall()
    return rows[0] if rows else None
