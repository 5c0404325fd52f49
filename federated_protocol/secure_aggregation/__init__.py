"""Secure aggregation: the coordinator opens the sum of many vectors and nothing else (eprint 2017/281, 2020/704).

The active-adversary variant among k neighbours on a public random graph (the complete graph where the cohort is
small), with dropouts in every phase. Sans-I/O: messages in, messages out. :class:`AggregationClient` is the device's
side, :class:`Directory` and :mod:`.server` the coordinator's; :mod:`.parameters` solves (k, t) from a threat model;
:mod:`.uniformity` shows that a masked input says nothing.
"""

from federated_protocol.secure_aggregation.client import AggregationClient, ClientState
from federated_protocol.secure_aggregation.derivation import RoundBinding, RunContext
from federated_protocol.secure_aggregation.directory import Advertised, Directory, check_advertisement, indices_of
from federated_protocol.secure_aggregation.parameters import (
    SMALLEST_COHORT,
    GraphParameters,
    check_admissible,
    check_threat,
    choose,
    complete_threshold,
    smallest_survival,
    solve,
)
from federated_protocol.secure_aggregation.server import (
    Commitments,
    MaskedSum,
    check_confirmation,
    check_masked_input,
    check_shares,
    check_unmasking,
    confirmations,
    owners_of,
    route,
    sum_of_masks,
    unmask,
)
from federated_protocol.secure_aggregation.uniformity import Uniformity, uniformity

__all__ = [
    "SMALLEST_COHORT",
    "Advertised",
    "AggregationClient",
    "ClientState",
    "Commitments",
    "Directory",
    "GraphParameters",
    "MaskedSum",
    "RoundBinding",
    "RunContext",
    "Uniformity",
    "check_admissible",
    "check_advertisement",
    "check_confirmation",
    "check_masked_input",
    "check_shares",
    "check_threat",
    "check_unmasking",
    "choose",
    "complete_threshold",
    "confirmations",
    "indices_of",
    "owners_of",
    "route",
    "smallest_survival",
    "solve",
    "sum_of_masks",
    "uniformity",
    "unmask",
]
