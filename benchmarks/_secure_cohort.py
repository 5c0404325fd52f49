"""Real secure-aggregation clients in worker processes, one cohort of them, every message in its wire form."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from federated_protocol import wire
from federated_protocol.enrolment import issue
from federated_protocol.messages import Confirmations, Mailbox, Message, Phase, Roster, SignedMessage, Survivors
from federated_protocol.plan import ThreatModel
from federated_protocol.secure_aggregation import AggregationClient, RoundBinding
from federated_protocol.signing import Identity, open_signed, sign
from federated_protocol.trust import TrustStore
from federated_protocol.vector_layout import Vector, VectorLayout

NOW = 1000.0
CORES = 2
FLOOR = 20
MEASURED = 200
"""So many clients verify every certificate themselves."""
_ANSWERS: dict[Phase, type[Message]] = {
    Phase.SHARE: Roster,
    Phase.MASKED_INPUT: Mailbox,
    Phase.CONFIRM: Survivors,
    Phase.UNMASK: Confirmations,
}


def vector_of(i: int, layout: VectorLayout) -> Vector:
    """The vector that client i contributes."""
    rng = np.random.default_rng(i)
    vector = rng.integers(0, 1 << 32, layout.length, dtype=np.uint64).astype(np.uint32)
    layout.reduce(vector)
    return vector


class Fleet:
    """All clients, shared out to worker processes that keep them from phase to phase."""

    def __init__(self, clients: int, binding: RoundBinding, layout: VectorLayout, threat: ThreatModel) -> None:
        authority = Identity.generate()
        self.identities = {i: Identity.generate() for i in range(1, clients + 1)}
        self.certificates = {
            i: issue(authority, identity.public_key, authority_name="benchmark", not_before=0.0, not_after=1e9).encode()
            for i, identity in self.identities.items()
        }
        self.cpu_s = dict.fromkeys(self.identities, 0.0)
        self.bytes_up = dict.fromkeys(self.identities, 0)
        self.bytes_down = dict.fromkeys(self.identities, 0)
        self._binding = binding
        self._workers: list[tuple[Any, Any]] = []
        forking = multiprocessing.get_context("fork")
        for worker in range(CORES):
            mine = {i: key.private_bytes() for i, key in self.identities.items() if i % CORES == worker}
            here, there = forking.Pipe()
            process = forking.Process(
                target=_work,
                args=(there, mine, clients - MEASURED, authority.public_key, binding, layout, threat),
                daemon=True,
            )
            process.start()
            self._workers.append((process, here))

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for process, pipe in self._workers:
            pipe.close()
            process.join(5)

    def measured(self, i: int) -> bool:
        """Whether client i's time counts; the others of a large cohort share what they verified of certificates."""
        return i > len(self.identities) - MEASURED

    def ask(self, phase: Phase, answers: Mapping[int, bytes]) -> dict[int, SignedMessage]:
        """Hand each client the coordinator's last answer and get its next message."""
        print(f"{phase.value}: {len(answers)} clients", file=sys.stderr)
        for worker, (_, pipe) in enumerate(self._workers):
            pipe.send((phase, {i: answer for i, answer in answers.items() if i % CORES == worker}))
        said: dict[int, SignedMessage] = {}
        for _, pipe in self._workers:
            for i, (envelope, cpu_s) in pipe.recv().items():
                self.cpu_s[i] += cpu_s
                self.bytes_up[i] += len(envelope)
                self.bytes_down[i] += len(answers[i])
                said[i] = wire.decode(envelope, SignedMessage)
        return dict(sorted(said.items()))

    def opened(self, i: int, phase: Phase, signed: SignedMessage, kind: type[Any], binding: bytes) -> Any:
        """Verify and decode a message as the coordinator does."""
        key = self.identities[i].public_key
        return open_signed(signed, kind, phase, self._binding.session, key, binding=binding)


def _work(
    pipe: Any,
    keys: Mapping[int, bytes],
    sharing: int,
    authority_key: bytes,
    binding: RoundBinding,
    layout: VectorLayout,
    threat: ThreatModel,
) -> None:
    shared_trust = TrustStore.pinned(authority_key)
    identities = {i: Identity.from_private_bytes(raw) for i, raw in keys.items()}
    clients: dict[int, AggregationClient] = {}
    while True:
        try:
            phase, answers = pipe.recv()
        except EOFError:
            return
        said: dict[int, tuple[bytes, float]] = {}
        for i, answer in answers.items():
            vector = vector_of(i, layout) if phase is Phase.MASKED_INPUT else None
            started = time.process_time()
            if phase is Phase.ADVERTISE:
                trust = shared_trust if i <= sharing else TrustStore.pinned(authority_key)
                clients[i] = _client(identities[i], trust, binding, layout, threat)
            message = _step(clients[i], phase, answer, vector)
            signed = sign(message, phase, binding.session, identities[i], clients[i].binding)
            envelope = wire.encode(signed)
            said[i] = (envelope, time.process_time() - started)
        pipe.send(said)


def _client(
    identity: Identity, trust: TrustStore, binding: RoundBinding, layout: VectorLayout, threat: ThreatModel
) -> AggregationClient:
    return AggregationClient(
        binding,
        layout,
        device_key=identity.public_key,
        vouch=lambda certificate: trust.verify(certificate, NOW),
        floor=2,
        threat=threat,
    )


def _step(client: AggregationClient, phase: Phase, answer: bytes, vector: Vector | None) -> Message:
    if phase is Phase.ADVERTISE:
        return client.advertise()
    decoded: Any = wire.decode(answer, _ANSWERS[phase])
    if phase is Phase.SHARE:
        return client.share(decoded)
    if phase is Phase.MASKED_INPUT:
        assert vector is not None
        return client.masked_input(decoded, vector)
    return client.confirm(decoded) if phase is Phase.CONFIRM else client.unmask(decoded)
