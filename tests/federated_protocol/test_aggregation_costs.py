"""A round costs a device about the bytes the paper counts (eprint 2017/281, section 4.1)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from federated_protocol import wire
from federated_protocol.messages import Confirmation, KeyAdvertisement, Phase

KEY_BITS = SHARE_BITS = 256


def paper_bits(n: int, m: int, bits: int) -> int:
    """Sent and received by one client, honest-but-curious, nobody drops out."""
    return 2 * n * KEY_BITS + (5 * n - 4) * SHARE_BITS + n + m * bits


@pytest.mark.parametrize(("n", "m", "expansion"), [(2**10, 2**20, 1.73), (2**14, 2**20, 3.62), (2**14, 2**24, 1.98)])
def test_the_formula_gives_the_expansion_factors_of_the_paper(n: int, m: int, expansion: float) -> None:
    assert paper_bits(n, m, 16 + n.bit_length() - 1) / (16 * m) == pytest.approx(expansion, abs=0.01)


def test_a_devices_traffic_on_the_complete_graph_is_the_formulas_plus_the_evidence(kit: Any) -> None:
    n, m, bits = 60, 7300, 16
    shape = kit.layout([(m, bits)])
    cohort = kit.Cohort(kit.vectors(n, shape), shape)
    cohort.run()
    plain, evidence = exchanged(cohort, 1)
    assert 8 * plain < 1.12 * paper_bits(n, m, bits)
    per_peer = 64 + len(cohort.certificates[1]) + 64 + 16  # signature, certificate, confirmation, framing
    assert evidence < n * per_peer + 300


def test_on_a_sparse_graph_traffic_grows_with_the_neighbours_and_not_with_the_cohort(kit: Any) -> None:
    from federated_protocol.plan import ThreatModel

    shape = kit.layout([(100, 16)])
    cohort = kit.Cohort(kit.vectors(100, shape), shape, threat=ThreatModel(dropout=0.1))
    cohort.run()
    k = cohort.context.parameters.neighbours
    assert k == 26
    up = len(wire.encode(cohort.shared[1])) + len(wire.encode(cohort.unmaskings[1]))
    assert up < k * (80 + 32) + 120
    assert len(wire.encode(cohort.roster_of[1])) < k * 400 + 1000


def exchanged(cohort: Any, me: int) -> tuple[int, int]:
    """Bytes of what the honest-but-curious protocol exchanges, and of what the active adversary costs on top."""
    roster, survivors = cohort.roster_of[me], cohort.survivors_of[me]
    bare = msgspec.structs.replace(
        roster, entries=tuple(msgspec.structs.replace(e, signature=b"", certificate=b"") for e in roster.entries)
    )
    plain = [
        wire.decode(cohort.signed[Phase.ADVERTISE][me].payload, KeyAdvertisement),
        bare,
        cohort.shared[me],
        cohort.mailboxes[me],
        cohort.inputs[me],
        survivors,
        cohort.unmaskings[me],
    ]
    evidence = [Confirmation(b"d" * 32), cohort.confirmations_of[me]]
    size = sum(len(wire.encode(message)) for message in plain)
    return size, len(wire.encode(roster)) - len(wire.encode(bare)) + sum(len(wire.encode(m)) for m in evidence)
