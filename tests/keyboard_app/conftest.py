"""The release that ships, for whoever needs a real one."""

from __future__ import annotations

import pytest

from suggestion_model.bundle import Bundle
from suggestion_model.runtime import Ranker


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The bundle that ships."""
    return Bundle.shipped()


@pytest.fixture(scope="module")
def ranker(bundle: Bundle) -> Ranker:
    """One interpreter for the tests of a file: making one takes a while."""
    return Ranker(bundle)
