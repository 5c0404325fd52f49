"""One simulated device: the product's check-ins, updates and counters around synthetic taps."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.week.world import BLIND, DIMENSION, Offers, Weights, World, trained
from data_logging.records import UsageCount
from federated_protocol.messages import CheckIn, ModelNotice, SignedMessage
from federated_protocol.plan import PROTOCOL_VERSION, Plan, TaskKind
from federated_protocol.signing import CHECK_IN, Identity, sign
from federated_protocol.update_codec import encode
from keyboard_app.device.identity import HOLDBACK, assign_arm
from keyboard_app.device.local_evaluation import ScoredOffers, judgement
from keyboard_app.device.local_work import count

MOST_OFFERS = 400
FAULT = 0.9
"""By how much the faulty app moves the blind weight."""


@dataclass(frozen=True, slots=True)
class Model:
    """A version as a device ranks with it."""

    version: int
    weights: Weights
    threshold: float


@dataclass
class SimulatedDevice:
    """State of one device; nothing about it is known to the coordinator but its key."""

    identity: Identity
    certificate: bytes
    zone: int
    activity: float
    """Candidates it meets, relative to the average."""
    taste: float
    windows: list[tuple[float, float]]
    holdback_percent: int
    app_version: str
    rng: np.random.Generator
    told: int = 0
    """The version it ranks with, unless it is held back."""
    held: int = 0
    """What it ranks with then."""
    since: float = 0.0
    """Until when its typing was simulated."""
    unreported: Offers = field(default_factory=Offers.none)
    seen: Offers = field(default_factory=Offers.none)
    """Counted by a round."""
    usage: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    reported: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    session: str = ""
    plan: Plan | None = None
    """Of the round it takes part in."""

    @property
    def arm(self) -> str:
        """Its arm: by the salted hash of its key, like a real one."""
        return assign_arm(self.identity.fingerprint, holdback_percent=self.holdback_percent)

    def check_in(self, now: float) -> SignedMessage:
        """ "I am willing now." """
        message = CheckIn(PROTOCOL_VERSION, self.app_version, self.certificate, secrets.token_bytes(16), now, True)
        return sign(message, CHECK_IN, "", self.identity)

    def learn(self, notice: ModelNotice, now: float, world: World, models: Callable[[int], Model]) -> bool:
        """Type until now with the old model, then rank with the announced one; whether that is a new one."""
        held = 0 if notice.holdback is None else notice.holdback.version
        if (notice.version, held) == (self.told, self.held):
            return False
        self.type_until(now, world, models)
        new, self.told, self.held = notice.version != self.told, notice.version, held
        return new

    def type_until(self, now: float, world: World, models: Callable[[int], Model]) -> None:
        """Catch up with what its person did since the last time."""
        expected = self.activity * world.candidates(self.since, now, self.zone)
        self.since = now
        lines = int(self.rng.poisson(expected))
        if not lines:
            return
        model = models(self.held if self.arm == HOLDBACK else self.told)
        offers, shown = world.live(self.rng, lines, self.taste, model.weights, model.threshold)
        self.unreported = (self.unreported + offers).newest(MOST_OFFERS)
        counted = self.usage.setdefault((self.arm, model.version), [0, 0, 0])
        for at, value in enumerate((lines, shown, int(offers.clicked.sum()))):
            counted[at] += value

    def end(self, counted: bool) -> None:
        """Leave the round; what it counted is not counted again."""
        judged = self.plan is not None and self.plan.kind is TaskKind.EVALUATION
        self.plan, self.session = None, ""
        if counted and not judged:
            self.seen = (self.seen + self.unreported).newest(MOST_OFFERS)
            self.unreported = Offers.none()
            for slot, values in self.usage.items():
                before = self.reported.setdefault(slot, [0, 0, 0])
                for at, value in enumerate(values):
                    before[at] += value
            self.usage = {}

    def vector(self, models: Callable[[int], Model]) -> NDArray[np.uint32]:
        """What it has to say in a sum: the change of the weights, and its counts."""
        assert self.plan is not None
        plan = self.plan
        base = models(plan.model_version)
        ours = _scored(self.unreported, base.weights)
        delta, weight = np.zeros(DIMENSION), 0.0
        if plan.kind is TaskKind.EVALUATION:
            assert plan.baseline is not None
            theirs = _scored(self.unreported, models(plan.baseline.version).weights)
            counters = np.concatenate(
                [count(plan.metrics, len(self.unreported), [], ours), judgement(plan.metrics, ours, theirs)]
            )
        else:
            known = self.seen + self.unreported
            examples = len(known) if plan.kind is TaskKind.TRAINING else 0
            if examples:
                delta = trained(base.weights, known, plan.training.epochs, plan.training.learning_rate)
                if self.app_version == FAULTY_APP:
                    delta[BLIND] = FAULT
                weight = min(examples, plan.training.weight_cap) / plan.training.weight_cap
            counters = count(plan.metrics, examples, _rows(self.usage), ours, _rows(self.reported))
        return encode(delta, weight, counters, plan.codec)


GOOD_APP, FAULTY_APP, FIXED_APP = "1.2.0", "1.3.0", "1.3.1"


def _rows(usage: dict[tuple[str, int], list[int]]) -> list[UsageCount]:
    return [UsageCount(arm, version, *values) for (arm, version), values in usage.items()]


def _scored(offers: Offers, weights: Weights) -> ScoredOffers:
    logits = (offers.features @ weights).astype(np.float32)
    return ScoredOffers(logits, offers.clicked, 1 / np.maximum(offers.propensity, 1e-9))
