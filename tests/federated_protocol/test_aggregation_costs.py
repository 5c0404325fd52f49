"""A round costs a device about the bytes the paper counts (eprint 2017/281, section 4.1)."""

from __future__ import annotations

from typing import Any

import pytest

from federated_protocol import wire
from federated_protocol.messages import EncryptedShares, Survivors

KEY_BITS = SHARE_BITS = 256


def paper_bits(n: int, m: int, bits: int) -> int:
    """Sent and received by one client, honest-but-curious, nobody drops out."""
    return 2 * n * KEY_BITS + (5 * n - 4) * SHARE_BITS + n + m * bits


@pytest.mark.parametrize(("n", "m", "expansion"), [(2**10, 2**20, 1.73), (2**14, 2**20, 3.62), (2**14, 2**24, 1.98)])
def test_the_formula_gives_the_expansion_factors_of_the_paper(n: int, m: int, expansion: float) -> None:
    assert paper_bits(n, m, 16 + n.bit_length() - 1) / (16 * m) == pytest.approx(expansion, abs=0.01)


def test_a_devices_traffic_stays_within_a_quarter_of_the_formula(kit: Any) -> None:
    n, m, bits = 60, 7300, 16
    shape = kit.layout([(m, bits)])
    cohort = kit.Cohort(kit.vectors(n, shape), shape)
    cohort.run()
    me = 1
    advertisement = next(iter(cohort.advertisements.values()))
    shares = EncryptedShares(ciphertexts=cohort.mailboxes[me].ciphertexts)  # as many, and as large, as it sent
    exchanged = [
        advertisement,
        cohort.roster,
        shares,
        cohort.mailboxes[me],
        cohort.inputs[me],
        Survivors(indices=tuple(cohort.inputs)),
        cohort.unmaskings[me],
    ]
    assert 8 * sum(len(wire.encode(message)) for message in exchanged) < 1.25 * paper_bits(n, m, bits)
