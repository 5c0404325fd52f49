"""One secure aggregation with real clients in worker processes: what it costs, beside the price of its primitives.

Every client runs the whole protocol: keys, certificates and signatures of its neighbours, shares, masks, packing,
confirmations. Those who vanish do so after sharing, which costs the server most. Masked inputs go through a file, as
they would through storage. CPU times are process times; ``wall_s`` is the opening of the sum (unpacking included) on
two processes, the better of two.

The lower bounds count only calls of primitives that this (k, t) cannot do without, at the medians timed in this run:
for a client two key pairs, 2k agreements, k + 1 masks, k boxes sealed and k opened, one sharing, five signatures, and
the verification of k certificates, k advertisements and t confirmations; for the server one unpacking an input, a mask
a survivor, and an agreement and a mask for each pair of a missing device and a surviving neighbour. Derivations,
packing, interpolation, encoding and every check stand on top of them.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks import BenchmarkError, Value
from federated_protocol import wire
from federated_protocol.enrolment import issue
from federated_protocol.errors import ProtocolError
from federated_protocol.messages import (
    Confirmations,
    EncryptedShares,
    KeyAdvertisement,
    Mailbox,
    MaskedInput,
    Message,
    Phase,
    Roster,
    SignedMessage,
    Survivors,
    Unmasking,
)
from federated_protocol.plan import Adversary, ThreatModel
from federated_protocol.secure_aggregation import (
    Advertised,
    AggregationClient,
    Directory,
    GraphParameters,
    MaskedSum,
    RoundBinding,
    RunContext,
    confirmations,
    derivation,
    indices_of,
    route,
    shamir,
    share_box,
    solve,
    unmask,
)
from federated_protocol.secure_aggregation.masks import MaskGenerator
from federated_protocol.signing import Identity, check_signature, open_signed, sign
from federated_protocol.trust import TrustStore
from federated_protocol.vector_layout import Vector, VectorField, VectorLayout, pack, unpack

DESCRIPTION = "secure aggregation: a client's and the server's costs beside the price of the primitives"

NOW = 1000.0
CORES = 2
MEASURED = 200
"""So many clients verify every certificate themselves."""
_ANSWERS: dict[Phase, type[Message]] = {
    Phase.SHARE: Roster,
    Phase.MASKED_INPUT: Mailbox,
    Phase.CONFIRM: Survivors,
    Phase.UNMASK: Confirmations,
}
_ADVERTISE_DATA = b"x" * 200


def main(argv: Sequence[str]) -> Mapping[str, Value]:
    """See the package."""
    parser = argparse.ArgumentParser(prog="benchmarks secure_aggregation", description=DESCRIPTION)
    parser.add_argument("--clients", type=int, default=100, help="devices that advertise keys")
    parser.add_argument("--length", type=int, default=100_000, help="elements of the vector")
    parser.add_argument("--dropout", type=float, default=0.1, help="share of the devices that vanish after sharing")
    parser.add_argument("--corrupt", type=float, default=0.05, help="share assumed to collude with the coordinator")
    parser.add_argument("--adversary", choices=[a.value for a in Adversary], default=Adversary.SEMI_MALICIOUS.value)
    parser.add_argument(
        "--sigma", type=int, help="by default 80, and 40 for an honest coordinator, which does not grind permutations"
    )
    parser.add_argument("--eta", type=int, default=20)
    parser.add_argument("--bits", type=int, help="width of an element; by default 16 + log2 of the clients")
    options = parser.parse_args(argv)
    bits = options.bits or min(32, 16 + math.ceil(math.log2(max(options.clients, 2))))
    adversary = Adversary(options.adversary)
    sigma = options.sigma or (80 if adversary is Adversary.SEMI_MALICIOUS else 40)
    threat = ThreatModel(options.corrupt, options.dropout, adversary, sigma=sigma, eta=options.eta)
    layout = VectorLayout((VectorField("update", options.length, bits),))
    try:
        parameters = solve(options.clients, threat)
    except ProtocolError as error:
        raise BenchmarkError(str(error)) from None
    return Round(parameters, threat, layout, math.floor(options.dropout * options.clients + 1e-9)).run()


@dataclass
class Round:
    """One round with every message passing through its wire form."""

    parameters: GraphParameters
    threat: ThreatModel
    layout: VectorLayout
    vanishing: int
    cpu_s: dict[int, float] = field(default_factory=dict)
    bytes_up: dict[int, int] = field(default_factory=dict)
    bytes_down: dict[int, int] = field(default_factory=dict)

    def run(self) -> Mapping[str, Value]:
        """Run it and report."""
        n = self.parameters.n
        binding = RoundBinding("benchmark", bytes(32), bytes(32), "benchmark", 1, 1)
        before = Primitives.time(self.parameters, self.layout)
        with Fleet(self, binding) as fleet, tempfile.TemporaryFile() as storage:
            advertised = fleet.ask(Phase.ADVERTISE, dict.fromkeys(range(1, n + 1), b""))
            names = indices_of(identity.fingerprint for identity in fleet.identities.values())
            place = {i: names[identity.fingerprint] for i, identity in fleet.identities.items()}
            members = {
                fleet.identities[i].fingerprint: Advertised(
                    fleet.identities[i].public_key,
                    fleet.certificates[i],
                    fleet.opened(i, Phase.ADVERTISE, signed, KeyAdvertisement, binding.digest),
                    signed.signature,
                )
                for i, signed in advertised.items()
            }
            directory = Directory(binding, members, self.threat, self.parameters)
            context = directory.context
            device = {index: i for i, index in place.items()}
            said = fleet.ask(Phase.SHARE, {i: wire.encode(directory.roster(place[i])) for i in advertised})
            shared = {
                place[i]: fleet.opened(i, Phase.SHARE, signed, EncryptedShares, context.digest)
                for i, signed in said.items()
            }
            mail = {device[index]: box for index, box in route(shared.items(), context.graph)}
            staying = [i for i in mail if place[i] > self.vanishing]
            where = self._collect(fleet, storage, {i: wire.encode(mail[i]) for i in staying}, place, context)
            alive = sorted(where)
            survivors = {device[index]: directory.survivors(index, alive, 20) for index in alive}
            confirmed = fleet.ask(Phase.CONFIRM, {i: wire.encode(s) for i, s in survivors.items()})
            signatures = {place[i]: signed.signature for i, signed in confirmed.items()}
            notes = {i: wire.encode(confirmations(place[i], signatures, context)) for i in confirmed}
            revealed = {
                place[i]: fleet.opened(i, Phase.UNMASK, signed, Unmasking, context.digest)
                for i, signed in fleet.ask(Phase.UNMASK, notes).items()
            }
            self.bytes_up = {i: fleet.bytes_up[i] for i in staying}
            self.bytes_down = {i: fleet.bytes_down[i] for i in staying}
            self.cpu_s = {i: fleet.cpu_s[i] for i in staying if fleet.measured(i)}
            opening = Opening(self.layout, context, members, shared, alive, where, revealed, storage)
            started = time.process_time()
            vector = opening.open(None)
            server_s = time.process_time() - started
            wall_s, again = opening.on_two_processes()
            expected = self._plain_sum([device[index] for index in alive])
        after = Primitives.time(self.parameters, self.layout)
        price = before.median_with(after)
        client_bound = 1e3 * price.client_s(self.parameters)
        server_bound = 1e3 * price.server_s(len(alive), missing_pairs(context, shared, alive))
        client_ms = 1e3 * statistics.median(self.cpu_s.values())
        return {
            "clients": n,
            "length": self.layout.length,
            "bits": self.layout.fields[0].bits,
            "vanished": self.vanishing,
            "adversary": self.threat.adversary.value,
            "sigma": self.threat.sigma,
            "k": self.parameters.neighbours,
            "t": self.parameters.threshold,
            "complete_graph": self.parameters.complete,
            "exact": bool(np.array_equal(vector, expected) and np.array_equal(again, expected)),
            "client_ms": round(client_ms, 3),
            "lower_bound_client_ms": round(client_bound, 3),
            "client_ratio": round(client_ms / client_bound, 3),
            "server_unmask_ms": round(1e3 * server_s, 3),
            "lower_bound_server_ms": round(server_bound, 3),
            "server_ratio": round(1e3 * server_s / server_bound, 3),
            "wall_s": round(wall_s, 4),
            "bytes_up": int(statistics.median(self.bytes_up.values())),
            "bytes_down": int(statistics.median(self.bytes_down.values())),
            "primitives_us": price.report(),
        }

    def _collect(
        self, fleet: Fleet, storage: Any, mail: Mapping[int, bytes], place: Mapping[int, int], context: RunContext
    ) -> dict[int, tuple[int, int]]:
        """Ask for masked inputs a few at a time and write them down; where each stands, by index."""
        where: dict[int, tuple[int, int]] = {}
        waiting = list(mail)
        for at in range(0, len(waiting), 16):
            some = {i: mail[i] for i in waiting[at : at + 16]}
            for i, signed in fleet.ask(Phase.MASKED_INPUT, some).items():
                fleet.opened(i, Phase.MASKED_INPUT, signed, MaskedInput, context.digest)
                where[place[i]] = (storage.tell(), len(signed.payload))
                storage.write(signed.payload)
        storage.flush()
        return where

    def _plain_sum(self, devices: Sequence[int]) -> Vector:
        total: Vector = np.zeros(self.layout.length, dtype=np.uint32)
        for i in devices:
            total += vector_of(i, self.layout)
        self.layout.reduce(total)
        return total


# -- clients -----------------------------------------------------------------------------------------------------


def vector_of(i: int, layout: VectorLayout) -> Vector:
    """The vector that client i contributes."""
    rng = np.random.default_rng(i)
    return rng.integers(0, layout.fields[0].modulus, layout.length, dtype=np.uint64).astype(np.uint32)


class Fleet:
    """All clients, shared out to worker processes that keep them from phase to phase."""

    def __init__(self, of: Round, binding: RoundBinding) -> None:
        authority = Identity.generate()
        self.identities = {i: Identity.generate() for i in range(1, of.parameters.n + 1)}
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
                args=(there, mine, of.parameters.n - MEASURED, authority.public_key, binding, of.layout, of.threat),
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


# -- the server --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opening:
    """What a coordinator has stored when it opens a sum."""

    layout: VectorLayout
    context: RunContext
    members: Mapping[bytes, Advertised]
    shared: Mapping[int, EncryptedShares]
    alive: Sequence[int]
    where: Mapping[int, tuple[int, int]]
    revealed: Mapping[int, Unmasking]
    storage: Any

    def open(self, executor: Executor | None) -> Vector:
        """Add the inputs from storage, one at a time, and take the masks off."""
        descriptor = self.storage.fileno()
        places = [(index, *self.where[index]) for index in self.alive]
        if executor is None:
            total = add_inputs(descriptor, places, self.layout)
        else:
            halves: list[Future[MaskedSum]] = [
                executor.submit(add_inputs, descriptor, places[part::CORES], self.layout) for part in range(CORES)
            ]
            total = MaskedSum(self.layout)
            for half in halves:
                total.merge(half.result())
        return unmask(self.context, self, list(self.shared), self.alive, total, self.revealed, executor)

    def on_two_processes(self) -> tuple[float, Vector]:
        """Wall-clock seconds on two processes, the better of two runs, and the sum."""
        forking = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(CORES, mp_context=forking) as executor:
            list(executor.map(_warm_up, range(4 * CORES)))
            best = math.inf
            for _ in range(2):
                started = time.perf_counter()
                vector = self.open(executor)
                best = min(best, time.perf_counter() - started)
        return best, vector

    def mask_key(self, index: int) -> bytes:
        """See :class:`federated_protocol.secure_aggregation.Commitments`."""
        return self._in_order[index - 1].keys.mask_key

    def seed_commitment(self, index: int) -> bytes:
        """See :class:`federated_protocol.secure_aggregation.Commitments`."""
        return self.shared[index].seed_commitment

    @property
    def _in_order(self) -> list[Advertised]:
        found = self.__dict__.get("_sorted")
        if found is None:
            found = [self.members[name] for name in sorted(self.members)]
            self.__dict__["_sorted"] = found
        return found


def add_inputs(descriptor: int, places: Sequence[tuple[int, int, int]], layout: VectorLayout) -> MaskedSum:
    """The sum of the stored inputs at (index, offset, size)."""
    total = MaskedSum(layout)
    for index, offset, size in places:
        total.add(index, wire.decode(os.pread(descriptor, size, offset), MaskedInput))
    return total


def _warm_up(_: int) -> None:
    time.sleep(0.01)


def missing_pairs(context: RunContext, shared: Mapping[int, EncryptedShares], alive: Sequence[int]) -> int:
    """Pairs of a missing sharer and a surviving neighbour."""
    there = frozenset(alive)
    return sum(len(there.intersection(context.graph.neighbours(i))) for i in shared if i not in there)


# -- primitives --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Primitives:
    """CPU seconds of one call of each."""

    key_pair: float
    agreement: float
    mask: float
    seal: float
    open_box: float
    sharing: float
    sign: float
    verify: float
    unpack: float

    @classmethod
    def time(cls, parameters: GraphParameters, layout: VectorLayout) -> Primitives:
        """Time each, the median over batches."""
        mine, theirs = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key().public_bytes_raw()
        identity = Identity.generate()
        signature = identity.sign(_ADVERTISE_DATA)
        masks = MaskGenerator(layout.length)
        vector: Vector = np.zeros(layout.length, dtype=np.uint32)
        share, key = bytes(32), bytes(range(32))
        box = share_box.seal(key, 1, 2, share, share)
        packed = pack(vector, layout)
        holders = parameters.n if parameters.complete else parameters.neighbours
        return cls(
            key_pair=_cpu(lambda: X25519PrivateKey.generate().public_key().public_bytes_raw(), 50),
            agreement=_cpu(lambda: derivation.agree(mine, theirs), 50),
            mask=_cpu(lambda: masks.add(vector, key[:16]), 50),
            seal=_cpu(lambda: share_box.seal(key, 1, 2, share, share), 200),
            open_box=_cpu(lambda: share_box.open_box(key, 1, 2, box), 200),
            sharing=_cpu(lambda: shamir.deal([share, share], parameters.threshold, holders, os.urandom), 3),
            sign=_cpu(lambda: identity.sign(_ADVERTISE_DATA), 50),
            verify=_cpu(lambda: check_signature(signature, _ADVERTISE_DATA, identity.public_key), 50),
            unpack=_cpu(lambda: unpack(packed, layout), 10),
        )

    def median_with(self, other: Primitives) -> Primitives:
        """Halfway between two timings, before and after the round."""
        return Primitives(*((one + two) / 2 for one, two in zip(self._values(), other._values(), strict=True)))

    def client_s(self, parameters: GraphParameters) -> float:
        """Least CPU seconds of one client."""
        k, t = parameters.neighbours, parameters.threshold
        return (
            2 * self.key_pair
            + 2 * k * self.agreement
            + (k + 1) * self.mask
            + k * (self.seal + self.open_box)
            + self.sharing
            + 5 * self.sign
            + (2 * k + t) * self.verify
        )

    def server_s(self, inputs: int, pairs: int) -> float:
        """Least CPU seconds of opening a sum."""
        return inputs * (self.unpack + self.mask) + pairs * (self.agreement + self.mask)

    def report(self) -> dict[str, float]:
        """Microseconds by name."""
        return {name: round(1e6 * value, 2) for name, value in self.__dict__.items()}

    def _values(self) -> Iterator[float]:
        return iter(self.__dict__.values())


def _cpu(call: Callable[[], object], repeats: int, batches: int = 9) -> float:
    call()
    times: list[float] = []
    for _ in range(batches):
        started = time.process_time()
        for _ in range(repeats):
            call()
        times.append((time.process_time() - started) / repeats)
    return statistics.median(times)
