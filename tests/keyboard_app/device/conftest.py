"""A world in which six devices make a round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from federated_protocol.plan import TrainingSetting
from suggestion_model.bundle import Bundle
from suggestion_model.runtime import Ranker
from tests.keyboard_app.device.world import ROUNDS, World, running_world


@pytest.fixture
def world(tmp_path: Path, bundle: Bundle, ranker: Ranker) -> Iterator[World]:
    """A coordinator that runs, and no device yet; the newest round is the one the tests tell of."""
    with running_world(
        tmp_path,
        bundle,
        ranker,
        rounds=msgspec.structs.replace(ROUNDS, pipelined=False),
        training=TrainingSetting(epochs=1, batch_size=16, learning_rate=0.1, weight_cap=8),
    ) as world:
        yield world
