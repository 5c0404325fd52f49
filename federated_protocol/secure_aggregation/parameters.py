"""How many shares open a secret.

On the complete graph every participant holds a share of every other's two secrets. Against an honest-but-curious
coordinator any majority will do (eprint 2017/281, section 6.2): t = ⌊n/2⌋ + 1 is the smallest threshold at which two
disjoint sets of survivors cannot exist, so the coordinator cannot gather both secrets of one device by telling two
halves different stories. A round survives as long as t of the n that advertised keys are still there at the end.
"""

from __future__ import annotations

from federated_protocol.errors import ProtocolError, ProtocolErrorReason

SMALLEST_COHORT = 2
"""Below this there is nobody to hide among. A device's own floor is higher."""

LARGEST_COHORT = 4096
"""On the complete graph the work grows with n²; no device joins a larger one."""


def threshold_for(n: int) -> int:
    """Threshold t = ⌊n/2⌋ + 1 for a complete graph of ``n`` participants (those who advertised keys, U1).

    Raises:
        ProtocolError: fewer than :data:`SMALLEST_COHORT` or more than :data:`LARGEST_COHORT` participants.
    """
    if n < SMALLEST_COHORT:
        raise ProtocolError(ProtocolErrorReason.BELOW_FLOOR, f"{n} participants; a round needs {SMALLEST_COHORT}")
    if n > LARGEST_COHORT:
        raise ProtocolError(
            ProtocolErrorReason.ABOVE_LARGEST_COHORT,
            f"{n} participants; cut the cohort, the complete graph takes at most {LARGEST_COHORT}",
        )
    return n // 2 + 1
