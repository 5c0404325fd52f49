"""Epsilon by ``dp-accounting``, in a process of its own that ends right after: the library is large and rarely needed.

The charges go in on standard input and epsilon comes out; the coordinator itself never imports the library.
``python -m coordinator.privacy.accountant`` reads ``{"rhos": [...], "delta": ...}`` and prints ``{"epsilon": ...}``.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence

import msgspec

from coordinator.errors import CoordinatorError

TIMEOUT_S = 60.0


class _Question(msgspec.Struct, frozen=True):
    rhos: tuple[float, ...]
    delta: float


class _Answer(msgspec.Struct, frozen=True):
    epsilon: float


def accounted_epsilon(rhos: Sequence[float], delta: float, timeout_s: float = TIMEOUT_S) -> float:
    """Ask ``dp-accounting`` for the epsilon of all these releases together at ``delta``.

    Raises
    ------
    CoordinatorError
        when it is not installed, fails or takes too long.
    """
    question = msgspec.json.encode(_Question(tuple(rhos), delta))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "coordinator.privacy.accountant"],
            input=question,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
        return msgspec.json.decode(done.stdout, type=_Answer).epsilon
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        raise CoordinatorError(
            "dp-accounting could not tell epsilon: install the coordinator extra (pip install 'PACKAGE[coordinator]')"
        ) from None


class EpsilonReporter:
    """Remembers the last epsilon and computes a new one in the background when the charges have changed.

    A page that is asked for often must not wait for a process: until the answer is there, :meth:`epsilon` is None and
    the closed form is shown, which agrees to three digits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[tuple[float, ...], float] | None = None
        self._epsilon: float | None = None

    def epsilon(self, rhos: Sequence[float], delta: float) -> float | None:
        """Epsilon of these charges if it is known; else None, and somebody is working on it."""
        if not rhos:
            return 0.0
        wanted = (tuple(rhos), delta)
        with self._lock:
            if self._of == wanted:
                return self._epsilon
            self._of, self._epsilon = wanted, None
        threading.Thread(target=self._compute, args=(wanted,), name="epsilon", daemon=True).start()
        return None

    def _compute(self, wanted: tuple[tuple[float, ...], float]) -> None:
        try:
            found = accounted_epsilon(*wanted)
        except CoordinatorError:
            return
        with self._lock:
            if self._of == wanted:
                self._epsilon = found


def _answer(question: _Question) -> _Answer:
    import dp_accounting
    from dp_accounting.rdp import rdp_privacy_accountant

    accountant = rdp_privacy_accountant.RdpAccountant(
        neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL
    )
    for rho in question.rhos:
        accountant.compose(dp_accounting.dp_event.ZCDpEvent(rho))
    return _Answer(float(accountant.get_epsilon(question.delta)))


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_answer(msgspec.json.decode(sys.stdin.buffer.read(), type=_Question))))
