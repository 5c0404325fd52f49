"""A large round is cut into cohorts, each a secure aggregation of its own.

Devices of one cohort are each other's neighbours, of different cohorts strangers: a cohort has its own session, plan,
keys, deadlines and sum. Costs of a device grow with its neighbours, so 1,000 devices in eight cohorts do a third of the
work of one graph of 1,000; and a cohort whose sum deviates from the others' can be left out
(:mod:`coordinator.aggregation.deviation`). Only opened cohort sums are added in the clear.

Who is in which cohort is drawn by chance when the selection has closed, like the graph inside a cohort: nobody who
checks in at a chosen moment chooses its company.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from coordinator.settings import RoundSettings
from federated_protocol.randomness import ByteSource

_LABEL = b"federated-keyboard/1 cohort\0"


def number_of_cohorts(devices: int, setting: RoundSettings) -> int:
    """Into how many cohorts so many devices are cut: of at most ``cohort_size``, and at least ``minimum_count``."""
    if not setting.cohort_size:
        return 1
    return max(1, min(-(-devices // setting.cohort_size), devices // setting.minimum_count))


def deal(devices: Iterable[bytes], cohorts: int, rng: ByteSource) -> list[list[bytes]]:
    """Draw who is in which cohort; sizes differ by one at most."""
    seed = rng(32)
    order = sorted(devices, key=lambda device: hashlib.sha256(_LABEL + seed + device).digest())
    return [order[first::cohorts] for first in range(cohorts)]
