"""The protocol versions a coordinator serves: its own and the one before. A cohort speaks one of them."""

from __future__ import annotations

from federated_protocol.plan import PROTOCOL_VERSION

NEWEST = PROTOCOL_VERSION


def oldest() -> int:
    """The oldest version that is served; what is older hears ``upgrade_required``."""
    return max(1, NEWEST - 1)


def is_served(version: int) -> bool:
    """Whether devices of this version get a place in rounds of their own."""
    return oldest() <= version <= NEWEST
