"""How many neighbours, and how many shares open a secret: (k, t) solved from a stated threat model.

On a k-regular graph every participant shares its two secrets t-of-k among its neighbours (Bell et al., CCS 2020,
eprint 2020/704). :func:`solve` finds the smallest even k for which all of these hold, with A corrupt and D dropped
participants among n, placed by a public random permutation:

- *connected*: the honest survivors fall apart into components with probability below 2^-(σ+1);
- *private*: more than t1 of somebody's neighbours are corrupt with probability at most 2^-(σ+1); when the coordinator
  may also tell two halves of the neighbours different stories, t1 is raised so that two sets of t honest neighbours
  cannot exist (``SEMI_MALICIOUS``);
- *live*: fewer than t of somebody's neighbours survive with probability at most 2^-η.

Where no such k < n - 1 exists the *complete graph* is taken, and :attr:`GraphParameters.complete` says so. There every
participant holds a share of each of the n (its own included) and t is the smallest number with 2t > n against an
honest-but-curious coordinator, 2t > n + A against one that lies (eprint 2017/281, section 6.2). With A = max(1, ⌊n/20⌋)
the latter is at most one above n/2 for n < 40 and stays below 0.7 n for every n >= 3 but 5 (where one of five may
vanish): losing thirty percent in any phase is survived.

A coordinator chooses who advertises and so may try many sets until the permutation suits it; σ = 80 leaves 40 bits of
margin for that. Everything here is pure arithmetic: log-gamma for the union bound over components, exact integers for
the hypergeometric tails.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.plan import Adversary, ThreatModel

SMALLEST_COHORT = 2
"""Below this there is nobody to hide among. A device's own floor is higher."""

LARGEST_COHORT = 20_000
"""No device joins a larger one: everybody recomputes the permutation of the whole cohort."""

SMALL_COHORT = 64
"""Up to here :func:`choose` takes the complete graph: it costs little, and it needs no luck with who drops out."""

LARGEST_COMPLETE = 4096
"""On the complete graph the work grows with n²."""


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """The graph of one cohort."""

    n: int
    """Participants, |U1|."""
    neighbours: int
    """k, neighbours of each; n - 1 on the complete graph."""
    threshold: int
    """t, shares that open a secret."""

    @property
    def complete(self) -> bool:
        """Whether everybody is everybody's neighbour: the fallback when no sparse graph satisfies the bounds."""
        return self.neighbours == self.n - 1

    def __str__(self) -> str:
        graph = "complete graph" if self.complete else f"{self.neighbours} neighbours each"
        return f"{self.n} participants, {graph}, {self.threshold} shares open a secret"


@functools.lru_cache(maxsize=256)
def solve(n: int, threat: ThreatModel) -> GraphParameters:
    """The smallest sparse graph for ``n`` participants, or the complete one where there is none.

    Raises:
        ProtocolError: fewer than :data:`SMALLEST_COHORT` participants, or more than a graph can carry.
    """
    check_threat(threat)
    check_cohort(n)
    corrupt, dropped = _corrupt_of(n, threat), math.floor(threat.dropout * n + 1e-9)
    # The union bound falls as k grows: find where it first holds by bisection, then walk.
    smallest, largest = 1, (n - 2) // 2
    while smallest < largest:
        middle = (smallest + largest) // 2
        if _connected(n, 2 * middle, corrupt + dropped, threat.sigma):
            largest = middle
        else:
            smallest = middle + 1
    for k in range(2 * smallest, n - 1, 2):
        if not _connected(n, k, corrupt + dropped, threat.sigma):
            continue
        highest_corrupt = _colluding(n, k, threat)
        if highest_corrupt < _surviving(n, k, threat):
            return GraphParameters(n, k, max(highest_corrupt + 1, 2))
    if n > LARGEST_COMPLETE:
        raise ProtocolError(
            ProtocolErrorReason.ABOVE_LARGEST_COHORT,
            f"no sparse graph carries {n} participants under this threat model, and the complete graph at most "
            f"{LARGEST_COMPLETE}; cut the cohort",
        )
    return GraphParameters(n, n - 1, complete_threshold(n, threat))


def choose(n: int, threat: ThreatModel) -> GraphParameters:
    """The graph a coordinator uses: :func:`solve`, but the complete one for up to :data:`SMALL_COHORT` participants."""
    check_threat(threat)
    check_cohort(n)
    if n <= SMALL_COHORT:
        return GraphParameters(n, n - 1, complete_threshold(n, threat))
    return solve(n, threat)


def smallest_survival(parameters: GraphParameters, threat: ThreatModel) -> int:
    """How many inputs must arrive at least: t on the complete graph, (1 - δ) n where connectedness was solved for."""
    if parameters.complete:
        return parameters.threshold
    return math.ceil((1 - threat.dropout) * parameters.n - 1e-9)


def complete_threshold(n: int, threat: ThreatModel) -> int:
    """Smallest t on the complete graph of ``n`` under ``threat``."""
    if threat.adversary is Adversary.HONEST_BUT_CURIOUS:
        return n // 2 + 1
    return min((n + _corrupt_of(n, threat)) // 2 + 1, n)


@functools.lru_cache(maxsize=256)
def check_admissible(parameters: GraphParameters, threat: ThreatModel) -> None:
    """Raise unless (k, t) protects a participant as well as ``threat`` demands.

    This is what a device asks of parameters it is given: any k and t that satisfy the bounds on privacy will do,
    also more neighbours or shares than the smallest.

    Raises:
        ProtocolError: too few or too many participants, or (k, t) outside the admissible range.
    """
    n, k, t = parameters.n, parameters.neighbours, parameters.threshold
    check_threat(threat)
    check_cohort(n)
    if parameters.complete:
        lowest, highest = complete_threshold(n, threat), n
        if n > LARGEST_COMPLETE:
            raise ProtocolError(ProtocolErrorReason.ABOVE_LARGEST_COHORT, f"{n} participants on the complete graph")
    else:
        dropped = math.floor(threat.dropout * n + 1e-9)
        if not (2 <= k < n - 1 and k % 2 == 0 and _connected(n, k, _corrupt_of(n, threat) + dropped, threat.sigma)):
            raise ProtocolError(
                ProtocolErrorReason.BAD_NEIGHBOURS,
                f"{k} neighbours do not connect {n} participants as this device asks",
            )
        lowest, highest = max(_colluding(n, k, threat) + 1, 2), k
    if not lowest <= t <= highest:
        raise ProtocolError(
            ProtocolErrorReason.BAD_THRESHOLD, f"threshold {t}, this device asks for {lowest} to {highest}"
        )


def check_threat(threat: ThreatModel) -> None:
    """Raise unless a threat model is one that can be solved."""
    in_range = (
        math.isfinite(threat.corrupt)
        and 0 <= threat.corrupt < 0.5
        and math.isfinite(threat.dropout)
        and 0 <= threat.dropout <= 0.5
        and 1 <= threat.sigma <= 256
        and 1 <= threat.eta <= 64
    )
    if not in_range:
        raise ProtocolError(
            ProtocolErrorReason.BAD_PARAMETERS,
            "a threat model has 0 <= corrupt < 0.5, 0 <= dropout <= 0.5, 1 <= sigma <= 256, 1 <= eta <= 64",
        )


def check_cohort(n: int) -> None:
    """Raise unless a cohort may have ``n`` members."""
    if n < SMALLEST_COHORT:
        raise ProtocolError(ProtocolErrorReason.BELOW_FLOOR, f"{n} participants; a round needs {SMALLEST_COHORT}")
    if n > LARGEST_COHORT:
        raise ProtocolError(
            ProtocolErrorReason.ABOVE_LARGEST_COHORT, f"{n} participants; cut the cohort, at most {LARGEST_COHORT}"
        )


def _corrupt_of(n: int, threat: ThreatModel) -> int:
    """A: at least one participant is always taken to be corrupt."""
    return max(1, math.floor(threat.corrupt * n + 1e-9))


def _connected(n: int, k: int, missing: int, sigma: int) -> bool:
    """Whether losing ``missing`` of n disconnects the rest with probability below 2^-(σ+1) (a union bound)."""
    if k > missing:
        return True
    if n - k - 1 <= 0:
        return False
    lgamma = math.lgamma
    log_probability = math.log(n) + math.log(n - k - 1) - math.log(2)
    log_probability += lgamma(missing + 1) + lgamma(n - k + 1) - lgamma(n + 1) - lgamma(missing - k + 1)
    return log_probability < -(sigma + 1) * math.log(2)


@functools.lru_cache(maxsize=4096)
def _colluding(n: int, k: int, threat: ThreatModel) -> int:
    """t1: so many shares may be with the adversary; one more is needed to open a secret."""
    corrupt = _corrupt_of(n, threat)
    # Smallest t1 with P[Hyp(n, A, k) > t1] <= 2^-(σ+1) / n, in exact integers, from the upper tail down.
    allowed = Fraction(math.comb(n, k), n << (threat.sigma + 1))
    tail, t1 = 0, min(k, corrupt)
    term = _term(n, corrupt, k, t1)
    while t1 > 0:
        tail += term
        if tail > allowed:
            break
        t1 -= 1
        # C(A, j) C(n-A, k-j) from its neighbour j + 1
        term = term * (t1 + 1) * (n - corrupt - k + t1 + 1) // ((corrupt - t1) * (k - t1))
    else:
        t1 = 0
    if threat.adversary is Adversary.SEMI_MALICIOUS:
        return math.ceil((t1 + k - 1.25) / 2)
    return t1


@functools.lru_cache(maxsize=4096)
def _surviving(n: int, k: int, threat: ThreatModel) -> int:
    """t2: the 2^-η/n quantile of the number of surviving neighbours, Hyp(n, ⌈(1-δ)n⌉, k)."""
    alive = math.ceil((1 - threat.dropout) * n - 1e-9)
    # Smallest t2 with P[Hyp <= t2] >= 2^-η / n.
    wanted = Fraction(math.comb(n, k), n << threat.eta)
    lowest = max(0, k - (n - alive))
    total, t2 = 0, lowest
    term = _term(n, alive, k, lowest)
    while t2 < min(k, alive):
        total += term
        if total >= wanted:
            break
        term = term * (alive - t2) * (k - t2) // ((t2 + 1) * (n - alive - k + t2 + 1))
        t2 += 1
    return t2


def _term(n: int, marked: int, k: int, j: int) -> int:
    if not 0 <= k - j <= n - marked:
        return 0
    return math.comb(marked, j) * math.comb(n - marked, k - j)
