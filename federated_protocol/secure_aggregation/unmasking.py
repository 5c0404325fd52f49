"""Opening the sum: independent jobs that recover secrets and expand masks, a few owners each.

A job holds everything it needs and nothing of the others': shares and their x-coordinates, the key or commitment they
are checked against, and the survivors' public keys. Jobs run on any executor, in any order; each gives one vector.
They are made owner by owner along the ring, so only the messages of a stretch of it are in memory at a time. A job is
some tens of milliseconds of work, whatever the lengths of ring and vector, so that handing it over costs little and
the last ones end together.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated_protocol.errors import ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.secure_aggregation import derivation, shamir
from federated_protocol.secure_aggregation.masks import MaskGenerator
from federated_protocol.vector_layout import Vector

_JOBS_IN_FLIGHT = 32
_FEWEST_JOBS = 24
"""About a second of work. Beginning worker processes takes as long, and each keeps some 50 MiB."""
_MOST_RETRIES = 64

# About what one core takes, to size jobs; nothing rests on it but their balance.
_JOB_US = 40_000.0
_AGREEMENT_US = 45.0
_SHARE_US = 4.0
_ELEMENT_US = 0.0007
_FEWEST_MASKS = 64  # a job's vector has to travel back: it is worth that from so many masks on


@dataclass(frozen=True, slots=True)
class Owner:
    """One member of U2 whose secret is opened."""

    index: int
    xs: tuple[int, ...]
    """x-coordinates of those who revealed a share; at least t."""
    shares: bytes
    """32 bytes each, in the order of ``xs``."""
    check: bytes
    """Commitment to the self-mask seed of a survivor; public masking key of a missing one."""
    missing: bool
    survivors: tuple[int, ...] = ()
    """With ``missing``: its neighbours in U3."""
    survivor_keys: bytes = b""
    """Their public masking keys, 32 bytes each."""

    def cost_us(self, length: int) -> float:
        """Roughly what opening this owner and expanding its masks of ``length`` elements takes."""
        masks = len(self.survivors) if self.missing else 1
        return _SHARE_US * len(self.xs) + _AGREEMENT_US * len(self.survivors) + _ELEMENT_US * length * masks


@dataclass(frozen=True, slots=True)
class UnmaskingJob:
    """Some owners of one run."""

    context: bytes
    length: int
    threshold: int
    owners: tuple[Owner, ...]

    def run(self, vector: Vector) -> None:
        """Add these owners' masks to ``vector``, with the sign they have in the survivors' inputs."""
        masks = MaskGenerator(self.length)
        for owner in self.owners:
            secret = open_verified(owner, self.context, self.threshold)
            if not owner.missing:
                masks.add(vector, derivation.self_mask_key(secret, self.context, owner.index))
                continue
            private_key = X25519PrivateKey.from_private_bytes(secret)
            for at, survivor in enumerate(owner.survivors):
                public_key = owner.survivor_keys[32 * at : 32 * (at + 1)]
                agreement = derivation.agree(private_key, public_key)
                key = derivation.pair_mask_key(agreement, self.context, survivor, owner.index)
                masks.add_pair(vector, key, survivor, owner.index)


def open_verified(owner: Owner, context: bytes, threshold: int) -> bytes:
    """The owner's secret, checked against what it committed to.

    With more shares than the threshold, a wrong one is worked around by leaving others out, one at a time.

    Raises:
        ProtocolError: no set of shares that was tried opens what the owner committed to.
    """
    size = shamir.SHARE_BYTES
    shares = [owner.shares[size * at : size * (at + 1)] for at in range(len(owner.xs))]
    for chosen in _choices(len(shares), threshold):
        try:
            secret = shamir.open_secret(tuple(owner.xs[at] for at in chosen), [shares[at] for at in chosen])
        except ProtocolError:
            continue
        if owner.missing:
            found = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        else:
            found = derivation.seed_commitment(secret, context, owner.index)
        if found == owner.check:
            return secret
    raise ProtocolError(
        Reason.BAD_SHARE, "the shares that were revealed do not open what their owner committed to; abandon the round"
    )


def _choices(available: int, threshold: int) -> Iterator[tuple[int, ...]]:
    """The first t shares; then every window of t; then each share of the first t replaced by the next one."""
    yield tuple(range(threshold))
    retries = itertools.chain(
        (tuple(range(at, at + threshold)) for at in range(available - threshold, 0, -1)),
        ((*range(out), *range(out + 1, threshold), threshold) for out in range(threshold) if available > threshold),
    )
    yield from itertools.islice(retries, _MOST_RETRIES)


def run_job(job: UnmaskingJob) -> Vector:
    """The sum of a job's masks; importable and picklable, so that it runs on any executor."""
    vector: Vector = np.zeros(job.length, dtype=np.uint32)
    job.run(vector)
    return vector


def in_jobs(owners: Iterable[Owner], context: bytes, length: int, threshold: int) -> Iterator[UnmaskingJob]:
    """Cut the owners, in their order, into jobs of about the same work."""
    enough = max(_JOB_US, _FEWEST_MASKS * _ELEMENT_US * length)
    batch: list[Owner] = []
    cost = 0.0
    for owner in owners:
        batch.append(owner)
        cost += owner.cost_us(length)
        if cost >= enough:
            yield UnmaskingJob(context, length, threshold, tuple(batch))
            batch, cost = [], 0.0
    if batch:
        yield UnmaskingJob(context, length, threshold, tuple(batch))


def add_all(jobs: Iterable[UnmaskingJob], masks: Vector, executor: Executor | None) -> None:
    """Add all jobs' vectors to ``masks``; a few are in flight at a time.

    A few jobs run here: handing them over would take longer. So does a job whose worker was lost.
    """
    waiting = iter(jobs)
    first = [] if executor is None else list(itertools.islice(waiting, _FEWEST_JOBS))
    if executor is None or len(first) < _FEWEST_JOBS:
        for job in itertools.chain(first, waiting):
            job.run(masks)
        return
    pending: deque[tuple[UnmaskingJob, Future[Vector]]] = deque()
    for job in itertools.chain(first, waiting):
        pending.append((job, executor.submit(run_job, job)))
        if len(pending) >= _JOBS_IN_FLIGHT:
            masks += _outcome(*pending.popleft())
    while pending:
        masks += _outcome(*pending.popleft())


def _outcome(job: UnmaskingJob, future: Future[Vector]) -> Vector:
    try:
        return future.result()
    except ProtocolError:
        raise
    except Exception:  # whatever an executor raises when a worker is gone; a job's own failure comes again here
        return run_job(job)
