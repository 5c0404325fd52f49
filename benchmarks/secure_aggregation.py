"""One secure aggregation with real clients in worker processes: what it costs, beside the price of its primitives.

Every client runs the whole protocol: keys, certificates and signatures of its neighbours, shares, masks, packing,
confirmations. Those who vanish do so after sharing, which costs the server most. The server is the coordinator's own:
messages lie in its database, and its code opens the sum from there. ``server_unmask_ms`` is the CPU time of opening it
in one process, reading and unpacking included, the better of two; ``wall_s`` the time it takes with two of the
coordinator's worker processes, the better of two once they are up, and ``wall_cold_s`` that of the first sum, which
starts them.

The lower bounds are those of :mod:`benchmarks._primitive_costs`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import BenchmarkError, Value
from benchmarks._primitive_costs import Primitives
from benchmarks._secure_cohort import CORES, FLOOR, Fleet, vector_of
from benchmarks._stored_round import StoredRound
from coordinator.aggregation.mask_workers import make_executor
from coordinator.rounds.planning import vector_layout
from coordinator.rounds.publication import open_vector
from coordinator.settings import UnmaskingSettings
from federated_protocol import wire
from federated_protocol.errors import ProtocolError
from federated_protocol.messages import EncryptedShares, KeyAdvertisement, MaskedInput, Phase, Unmasking
from federated_protocol.plan import (
    PROTOCOL_VERSION,
    Adversary,
    AggregationSetting,
    CodecSetting,
    MetricSetting,
    Plan,
    TaskKind,
    ThreatModel,
    TrainingSetting,
)
from federated_protocol.secure_aggregation import (
    Advertised,
    Directory,
    GraphParameters,
    RoundBinding,
    RunContext,
    confirmations,
    indices_of,
    route,
    solve,
)
from federated_protocol.vector_layout import Vector, VectorLayout

DESCRIPTION = "secure aggregation: a client's and the server's costs beside the price of the primitives"
INPUTS_AT_ONCE = 16


def main(argv: Sequence[str]) -> Mapping[str, Value]:
    """See the package."""
    parser = argparse.ArgumentParser(prog="benchmarks secure_aggregation", description=DESCRIPTION)
    parser.add_argument("--clients", type=int, default=100, help="devices that advertise keys")
    parser.add_argument("--length", type=int, default=100_000, help="elements of the update")
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
    try:
        parameters = solve(options.clients, threat)
    except ProtocolError as error:
        raise BenchmarkError(str(error)) from None
    plan = make_plan(options.clients, options.length, bits, threat)
    vanishing = math.floor(options.dropout * options.clients + 1e-9)
    with tempfile.TemporaryDirectory(prefix="secure-aggregation-") as folder:
        return Round(parameters, plan, vanishing, StoredRound(Path(folder), plan)).run()


def make_plan(clients: int, length: int, bits: int, threat: ThreatModel) -> Plan:
    """A round that sums ``length`` elements of ``bits``, and a weight."""
    return Plan(
        protocol_version=PROTOCOL_VERSION,
        task="benchmark",
        kind=TaskKind.TRAINING,
        round=1,
        attempt=1,
        session="benchmark",
        model_version=0,
        model_digest="00" * 32,
        training=TrainingSetting(epochs=1, batch_size=1, learning_rate=1.0, weight_cap=1),
        codec=CodecSetting(
            dimension=length,
            clip=1.0,
            step=1.0,
            rotation_seed=b"",
            weight_levels=1,
            bits=bits,
            count_bits=32,
            count_cap=1,
        ),
        aggregation=AggregationSetting(FLOOR, clients, threat),
        metrics=MetricSetting(slots=(), score_edges=(), exact=False),
    )


@dataclass
class Round:
    """One round with every message passing through its wire form."""

    parameters: GraphParameters
    plan: Plan
    vanishing: int
    stored: StoredRound
    cpu_s: dict[int, float] = field(default_factory=dict)
    bytes_up: dict[int, int] = field(default_factory=dict)
    bytes_down: dict[int, int] = field(default_factory=dict)

    def run(self) -> Mapping[str, Value]:
        """Run it and report."""
        layout, threat = vector_layout(self.plan), self.plan.aggregation.threat
        binding = RoundBinding.of(self.plan)
        before = Primitives.time(self.parameters, layout)
        with Fleet(self.parameters.n, binding, layout, threat) as fleet:
            context, device, sharers, alive = self._gather(fleet, binding, threat)
        server_s, vector = self._open_alone()
        cold_s, wall_s, again = self._open_on_workers()
        expected = plain_sum([device[index] for index in alive], layout)
        price = before.median_with(Primitives.time(self.parameters, layout))
        client_bound = 1e3 * price.client_s(self.parameters)
        server_bound = 1e3 * price.server_s(len(alive), missing_pairs(context, sharers, alive))
        client_ms = 1e3 * statistics.median(self.cpu_s.values())
        return {
            "clients": self.parameters.n,
            "length": self.plan.codec.dimension,
            "bits": self.plan.codec.bits,
            "vanished": self.vanishing,
            "corrupt": threat.corrupt,
            "adversary": threat.adversary.value,
            "sigma": threat.sigma,
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
            "wall_cold_s": round(cold_s, 4),
            "workers": CORES,
            "bytes_up": int(statistics.median(self.bytes_up.values())),
            "bytes_down": int(statistics.median(self.bytes_down.values())),
            "primitives_us": price.report(),
        }

    def _gather(
        self, fleet: Fleet, binding: RoundBinding, threat: ThreatModel
    ) -> tuple[RunContext, dict[int, int], list[int], list[int]]:
        """All phases; the run, the client of each index, and the indices of U2 and U3."""
        advertised = fleet.ask(Phase.ADVERTISE, dict.fromkeys(fleet.identities, b""))
        place = indices_of(identity.fingerprint for identity in fleet.identities.values())
        index = {i: place[identity.fingerprint] for i, identity in fleet.identities.items()}
        device = {at: i for i, at in index.items()}
        members = {
            fleet.identities[i].fingerprint: Advertised(
                fleet.identities[i].public_key,
                fleet.certificates[i],
                fleet.opened(i, Phase.ADVERTISE, signed, KeyAdvertisement, binding.digest),
                signed.signature,
            )
            for i, signed in advertised.items()
        }
        directory = Directory(binding, members, threat, self.parameters)
        context = directory.context
        self.stored.join((name, member.device_key, member.certificate) for name, member in members.items())
        self.stored.put(Phase.ADVERTISE, advertised.values())
        self.stored.fix(context, place)

        said = fleet.ask(Phase.SHARE, {i: wire.encode(directory.roster(index[i])) for i in advertised})
        self.stored.put(Phase.SHARE, said.values())
        shared = {
            index[i]: fleet.opened(i, Phase.SHARE, signed, EncryptedShares, context.digest)
            for i, signed in said.items()
        }
        mail = {device[at]: wire.encode(box) for at, box in route(shared.items(), context.graph)}
        staying = [i for i in mail if index[i] > self.vanishing]
        for at in range(0, len(staying), INPUTS_AT_ONCE):
            some = fleet.ask(Phase.MASKED_INPUT, {i: mail[i] for i in staying[at : at + INPUTS_AT_ONCE]})
            for i, signed in some.items():
                fleet.opened(i, Phase.MASKED_INPUT, signed, MaskedInput, context.digest)
            self.stored.put(Phase.MASKED_INPUT, some.values())
        self.stored.drop((fleet.identities[i].fingerprint for i in mail if i not in staying), Phase.MASKED_INPUT)

        alive = sorted(index[i] for i in staying)
        survivors = {device[at]: wire.encode(directory.survivors(at, alive, FLOOR)) for at in alive}
        confirmed = fleet.ask(Phase.CONFIRM, survivors)
        signatures = {index[i]: signed.signature for i, signed in confirmed.items()}
        notes = {i: wire.encode(confirmations(index[i], signatures, context)) for i in confirmed}
        revealed = fleet.ask(Phase.UNMASK, notes)
        for i, signed in revealed.items():
            fleet.opened(i, Phase.UNMASK, signed, Unmasking, context.digest)
        self.stored.put(Phase.UNMASK, revealed.values())
        self.bytes_up = {i: fleet.bytes_up[i] for i in staying}
        self.bytes_down = {i: fleet.bytes_down[i] for i in staying}
        self.cpu_s = {i: fleet.cpu_s[i] for i in staying if fleet.measured(i)}
        return context, device, list(shared), alive

    def _open_alone(self) -> tuple[float, Vector]:
        """CPU seconds of the coordinator's own process when it has no workers, the better of two."""
        row = self.stored.unmasking()
        times: list[float] = []
        for _ in range(2):
            started = time.process_time()
            opened = open_vector(self.stored.database, row, None)
            times.append(time.process_time() - started)
        return min(times), opened.vector

    def _open_on_workers(self) -> tuple[float, float, Vector]:
        """Wall-clock seconds on the coordinator's worker processes: the first time, and the better of two after it."""
        row = self.stored.unmasking()
        times: list[float] = []
        executor = make_executor(UnmaskingSettings(workers=CORES))
        try:
            for _ in range(3):
                started = time.perf_counter()
                opened = open_vector(self.stored.database, row, executor)
                times.append(time.perf_counter() - started)
        finally:
            executor.shutdown()
        return times[0], min(times[1:]), opened.vector


def plain_sum(devices: Sequence[int], layout: VectorLayout) -> Vector:
    """What the opened sum must be."""
    total: Vector = np.zeros(layout.length, dtype=np.uint32)
    for i in devices:
        total += vector_of(i, layout)
    layout.reduce(total)
    return total


def missing_pairs(context: RunContext, sharers: Sequence[int], alive: Sequence[int]) -> int:
    """Pairs of a missing sharer and a surviving neighbour."""
    there = frozenset(alive)
    return sum(len(there.intersection(context.graph.neighbours(i))) for i in sharers if i not in there)
