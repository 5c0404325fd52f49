"""The cohort of ``tests/federated_protocol``, here in the hands of somebody who does not follow the protocol."""

from __future__ import annotations

from typing import Any

import pytest

from tests.federated_protocol.cohort import Kit


@pytest.fixture(scope="session")
def kit() -> Any:
    return Kit


@pytest.fixture(params=["complete", "sparse"])
def cohort(request: Any, kit: Any) -> Any:
    """Six devices on the complete graph, or twenty with four neighbours each; all have advertised."""
    shape = kit.layout([(20, 16)])
    if request.param == "complete":
        made = kit.Cohort(kit.vectors(6, shape), shape)
    else:
        made = kit.Cohort(kit.vectors(20, shape), shape, threat=kit.sparse, sparse=True)
    made.build()
    return made


@pytest.fixture
def small(kit: Any) -> Any:
    """Six devices on the complete graph; all have advertised."""
    shape = kit.layout([(20, 16)])
    made = kit.Cohort(kit.vectors(6, shape), shape)
    made.build()
    return made
