"""A cohort of devices that run secure aggregation with a coordinator in memory, leaving when told to."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from federated_protocol.messages import Mailbox, MaskedInput, Roster, Survivors, Unmasking
from federated_protocol.secure_aggregation import AggregationClient, MaskedSum, build_roster, indices_of, route, unmask
from federated_protocol.vector_layout import Vector, VectorField, VectorLayout

SESSION, PLAN_DIGEST = "session-1", bytes(range(32))


class Leaves(enum.IntEnum):
    """When a device vanishes; each value is the last step it answered."""

    BEFORE_ADVERTISE = 0
    AFTER_ADVERTISE = 1
    AFTER_SHARE = 2
    AFTER_MASKED_INPUT = 3
    NEVER = 4


class Cohort:
    """Devices 1..n of one session; ``vectors[i]`` is device i's, ``leaves[i]`` when it goes."""

    def __init__(
        self,
        vectors: Mapping[int, Vector],
        layout: VectorLayout,
        leaves: Mapping[int, Leaves] | None = None,
        *,
        floor: int = 2,
        seed: int = 0,
    ) -> None:
        self.layout = layout
        leaves = leaves or {}
        present = [i for i in vectors if leaves.get(i, Leaves.NEVER) > Leaves.BEFORE_ADVERTISE]
        names = {i.to_bytes(16, "big"): i for i in present}
        made = {
            name: AggregationClient(
                SESSION, PLAN_DIGEST, layout, floor=floor, rng=random.Random(seed * 1000 + i).randbytes
            )
            for name, i in names.items()
        }
        self.advertisements = {name: client.advertise() for name, client in made.items()}
        index = indices_of(self.advertisements)
        self.clients = {index[name]: client for name, client in made.items()}
        self.vectors = {index[name]: vectors[i] for name, i in names.items()}
        self.leaves = {index[name]: leaves.get(i, Leaves.NEVER) for name, i in names.items()}
        self.roster = Roster(entries=(), threshold=0)
        self.mailboxes: dict[int, Mailbox] = {}
        self.inputs: dict[int, MaskedInput] = {}
        self.unmaskings: dict[int, Unmasking] = {}

    def still_there(self, after: Leaves) -> list[int]:
        return [i for i, last in self.leaves.items() if last >= after]

    def share(self) -> None:
        self.roster = build_roster(self.advertisements)
        self.mailboxes = route({i: self.clients[i].share(self.roster) for i in self.still_there(Leaves.AFTER_SHARE)})

    def mask(self) -> None:
        for i in self.still_there(Leaves.AFTER_MASKED_INPUT):
            self.inputs[i] = self.clients[i].masked_input(self.mailboxes[i], self.vectors[i])

    def reveal(self) -> None:
        survivors = Survivors(indices=tuple(sorted(self.inputs)))
        for i in self.still_there(Leaves.NEVER):
            self.unmaskings[i] = self.clients[i].unmask(survivors)

    def masked_sum(self) -> MaskedSum:
        total = MaskedSum(self.layout)
        for i, message in self.inputs.items():
            total.add(i, message)
        return total

    def open(self, **changed: object) -> Vector:
        arguments: dict[str, object] = {
            "session": SESSION,
            "plan_digest": PLAN_DIGEST,
            "layout": self.layout,
            "roster": self.roster,
            "u2": list(self.mailboxes),
            "u3": list(self.inputs),
            "masked_sum": self.masked_sum(),
            "unmaskings": self.unmaskings,
            "threshold": self.roster.threshold,
        }
        return unmask(**(arguments | changed))  # type: ignore[arg-type]

    def run(self, **changed: object) -> Vector:
        self.share()
        self.mask()
        self.reveal()
        return self.open(**changed)

    def plain_sum(self) -> Vector:
        """What the opened sum must be: the survivors' vectors added in the clear, in Python's integers."""
        columns = [sum(int(self.vectors[i][k]) for i in self.inputs) for k in range(self.layout.length)]
        moduli = [field.modulus for field in self.layout.fields for _ in range(field.length)]
        return np.array([c % m for c, m in zip(columns, moduli, strict=True)], dtype=np.uint32)


def make_layout(fields: Sequence[tuple[int, int]]) -> VectorLayout:
    return VectorLayout(tuple(VectorField(f"f{k}", length, bits) for k, (length, bits) in enumerate(fields)))


def random_vectors(n: int, layout: VectorLayout, seed: int = 0) -> dict[int, Vector]:
    rng = np.random.default_rng(seed)
    moduli = np.array([field.modulus for field in layout.fields for _ in range(field.length)], dtype=np.uint64)
    return {i: rng.integers(0, moduli, dtype=np.uint64).astype(np.uint32) for i in range(1, n + 1)}


class Kit:
    """The helpers above, handed to tests by one fixture."""

    Cohort = Cohort
    Leaves = Leaves
    layout = staticmethod(make_layout)
    vectors = staticmethod(random_vectors)
    session = SESSION
    plan_digest = PLAN_DIGEST


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    return Kit
