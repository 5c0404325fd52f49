"""What this device's contributions have cost it in privacy, over all tasks and attempts, and where it stops.

The coordinator keeps a ledger too; this one does not believe it. Before a masked input leaves, its cost rho is computed
from the plan in closed form (:func:`federated_protocol.privacy.check_privacy`) and written to disk; whether the sum
was opened in the end, a device cannot know, so every input is charged. Above the cap pinned here the device declines.

A ledger that cannot be read counts as spent: forgetting what was spent would be the one error that costs privacy.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path

import msgspec

from federated_protocol.plan import NO_DP_GUARANTEE, Plan
from federated_protocol.privacy import check_privacy, epsilon_of, largest_rho
from keyboard_app.device.files import write_atomically

_ROUNDING = 1e-9


class _Spent(msgspec.Struct, frozen=True):
    """The file."""

    rho: float = 0.0
    private_rounds: int = 0
    rounds_without_noise: int = 0


class PrivacyBudget:
    """The ledger of one device.

    Args:
        path: its file.
        epsilon: cap over the life of the device, at ``delta``.
        delta: probability at which the cap is stated.
    """

    def __init__(self, path: Path, epsilon: float, delta: float) -> None:
        self._path = path
        self._epsilon = epsilon
        self._delta = delta
        self._cap = largest_rho(epsilon, delta)
        self._lock = threading.Lock()
        self._spent, self.readable = self._read()

    @property
    def rho(self) -> float:
        """Spent so far in rounds with noise; infinite when the ledger cannot be read."""
        return self._spent.rho if self.readable else math.inf

    @property
    def epsilon(self) -> float:
        """Spent so far in rounds with noise, at the cap's delta."""
        return epsilon_of(self.rho, self._delta) if self.readable else math.inf

    def affords(self, plan: Plan) -> bool:
        """Whether taking part in ``plan`` stays within the cap; a plan that guarantees nothing spends none of it."""
        rho = check_privacy(plan)
        return rho == 0 or self.rho + rho <= self._cap * (1 + _ROUNDING)

    def charge(self, plan: Plan) -> None:
        """Book one masked input, on disk before this returns.

        Nothing the coordinator chooses, like the name of a session, makes two inputs one: call it once an input.

        Raises:
            OSError: it cannot be written; then nothing may be sent.
        """
        rho = check_privacy(plan)
        with self._lock:
            if not self.readable:
                return
            spent = _Spent(
                self._spent.rho + rho,
                self._spent.private_rounds + (rho > 0),
                self._spent.rounds_without_noise + (rho == 0),
            )
            write_atomically(self._path, msgspec.json.encode(spent))
            self._spent = spent

    @property
    def sentence(self) -> str:
        """For the device's owner."""
        spent = self._spent
        if not self.readable:
            return f"the privacy ledger {self._path.name} is damaged: rounds with a privacy budget are declined"
        parts = []
        if spent.private_rounds:
            parts.append(
                f"epsilon {self.epsilon:.2f} of {self._epsilon:g} spent so far, at delta {self._delta:g}, assuming the "
                "stated share of the other devices added their noise"
            )
        if spent.rounds_without_noise:
            rounds = f"{spent.rounds_without_noise} round{'' if spent.rounds_without_noise == 1 else 's'}"
            parts.append(f"{NO_DP_GUARANTEE} for {rounds} without noise")
        return "; ".join(parts) or "no round joined yet, nothing spent"

    def _read(self) -> tuple[_Spent, bool]:
        try:
            spent = msgspec.json.decode(self._path.read_bytes(), type=_Spent)
        except FileNotFoundError:
            return _Spent(), True
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return _Spent(), False
        return spent, math.isfinite(spent.rho) and spent.rho >= 0
