"""The cohort of ``tests/federated_protocol``, here in the hands of somebody who does not follow the protocol."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_kit = Path(__file__).parents[1] / "federated_protocol" / "conftest.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("aggregation_kit", _kit)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Kit


@pytest.fixture(scope="session")
def kit() -> Any:
    return _load()
