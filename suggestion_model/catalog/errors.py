"""What can go wrong with a catalog file."""

from __future__ import annotations


class CatalogError(ValueError):
    """A catalog file cannot be used; the message names the file, the place in it and what to do."""
