"""Errors of the suggestion model, each with a message that says what to do next."""

from __future__ import annotations


class SuggestionModelError(Exception):
    """Base of everything this package raises on purpose."""


class BundleError(SuggestionModelError):
    """A release bundle is missing, damaged or made for other code; the message names the file."""


class RankerInputError(SuggestionModelError, ValueError):
    """An array offered to the ranker has the wrong dtype, rank, dimension or values."""


class CorpusError(SuggestionModelError):
    """Text for authoring is missing or unreadable; the message names the file and the line number, never its text."""
