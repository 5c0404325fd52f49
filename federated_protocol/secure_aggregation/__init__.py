"""Secure aggregation: the coordinator opens the sum of many vectors and nothing else (eprint 2017/281).

Bonawitz et al.'s protocol for an honest-but-curious coordinator, on the complete graph, with dropouts in every phase.
Sans-I/O: messages in, messages out. :class:`AggregationClient` is the device's side, :mod:`.server` the coordinator's,
:mod:`.uniformity` shows that a masked input says nothing.
"""

from federated_protocol.secure_aggregation.client import AggregationClient, ClientState
from federated_protocol.secure_aggregation.parameters import SMALLEST_COHORT, threshold_for
from federated_protocol.secure_aggregation.server import (
    MaskedSum,
    build_roster,
    check_advertisement,
    check_masked_input,
    check_shares,
    check_unmasking,
    indices_of,
    route,
    unmask,
)
from federated_protocol.secure_aggregation.uniformity import Uniformity, uniformity

__all__ = [
    "SMALLEST_COHORT",
    "AggregationClient",
    "ClientState",
    "MaskedSum",
    "Uniformity",
    "build_roster",
    "check_advertisement",
    "check_masked_input",
    "check_shares",
    "check_unmasking",
    "indices_of",
    "route",
    "threshold_for",
    "uniformity",
    "unmask",
]
