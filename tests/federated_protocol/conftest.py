"""A cohort that runs secure aggregation in memory, for every test here."""

from __future__ import annotations

import pytest

from tests.federated_protocol.cohort import Kit


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    return Kit
