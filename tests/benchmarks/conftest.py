"""A Dask cluster for the benchmarks' own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.dask_cluster import dask_cluster
from coordinator.aggregation.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler with two workers on loopback, mutual TLS."""
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running.cluster
