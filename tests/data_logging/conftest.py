"""A real log on a real file, and impressions to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data_logging import Impression, ImpressionLog
from tests.clocks import SettableClock

NOW = 1_772_409_600.0
DAY_S = 86_400.0


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(NOW)


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(log_path: Path, clock: SettableClock) -> Iterator[ImpressionLog]:
    log = ImpressionLog(log_path, clock)
    yield log
    log.close()


@pytest.fixture
def impression() -> Callable[..., Impression]:
    """Make an impression, fields overridden by name."""
    standard = Impression(
        created_at=NOW,
        conversation="c1",
        context="are you hungry?\nthai restaurants in oakland",
        candidate="thai restaurants in oakland",
        category="restaurants",
        baseline_score=0.8,
        features=(0.8, -1.5, 0.1),
        score=-0.4,
        slot=0,
        shown=True,
        explored=False,
        propensity=0.95,
        model_version=3,
        arm="treatment",
    )
    return lambda **fields: replace(standard, **fields)
