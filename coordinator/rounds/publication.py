"""The end of a round: open the sum, make the next model, publish both in one transaction each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from coordinator.aggregation import CohortSum, GateRejectedError, ServerOptimizer, agreeing_sums, make_next_model
from coordinator.events import Event, log_failure
from coordinator.experiments import metric_store
from coordinator.experiments.threshold import ScoreHistograms, calibrate_threshold
from coordinator.releases.model_store import add_model, load_artifact, weights_of
from coordinator.releases.rollout import hold_back
from coordinator.rounds.planning import decode_plan, run_context, vector_layout
from coordinator.rounds.states import RoundEvent
from coordinator.rounds.transitions import take_all
from coordinator.settings import Settings
from coordinator.storage import Database, message_store, participant_store, round_store
from coordinator.storage.round_store import Round
from federated_protocol import wire
from federated_protocol.errors import CodecError, ProtocolError, ProtocolErrorReason
from federated_protocol.messages import AbandonReason, EncryptedShares, KeyAdvertisement, MaskedInput, Phase, Unmasking
from federated_protocol.plan import Plan, counter_names
from federated_protocol.privacy import estimated_names, read_estimates
from federated_protocol.secure_aggregation import MaskedSum, sum_of_masks
from federated_protocol.update_codec import DecodedSum, decode_sum
from federated_protocol.vector_layout import VectorLayout

HISTOGRAM_ROUNDS = 60
"""Histograms of so many cohorts are read: those of rounds 30 back weigh nothing after decay."""


@dataclass(frozen=True, slots=True)
class OpenedVector:
    """The sum of a cohort's vectors, as integers."""

    plan: Plan
    vector: NDArray[np.uint32]
    devices: int


@dataclass(frozen=True, slots=True)
class OpenedSum:
    """The sum of a cohort's vectors, and what it decodes to."""

    plan: Plan
    vector: NDArray[np.uint32]
    decoded: DecodedSum

    def store_counters(self, connection: Connection, round_id: int) -> None:
        """Keep the named counters, exact or estimated; they count whether or not the model passes its gate."""
        names = counter_names(self.plan.metrics)
        sums = {name: int(value) for name, value in zip(names, self.decoded.counters[: len(names)], strict=True)}
        metric_store.add_sums(connection, round_id, sums | estimated_sums(self.plan, self.decoded))


def estimated_sums(plan: Plan, decoded: DecodedSum) -> dict[str, int]:
    """Counts that lay under the noise, rounded, and beside each its variance; none in a plan without."""
    if not estimated_names(plan.metrics):
        return {}
    found = read_estimates(decoded.update_sum, plan.metrics, plan.codec, round(decoded.weight_sum))
    values = {name: round(estimate.value) for name, estimate in found.items()}
    return values | {f"{name}_variance": math.ceil(estimate.variance) for name, estimate in found.items()}


class _StoredRound(Mapping[int, Unmasking]):
    """The unmaskings of a round, and what opened secrets are checked against, read as they are needed."""

    def __init__(self, connection: Connection, row: Round, index: Mapping[bytes, int]) -> None:
        self._connection = connection
        self._row = row
        self._device = {place: device for device, place in index.items()}
        revealed = message_store.devices_that_answered(connection, row.id, Phase.UNMASK)
        self._revealed = {index[device] for device in revealed}
        self._mask_keys: dict[int, bytes] = {}
        for device, payload in message_store.payloads(connection, row.id, Phase.ADVERTISE):
            if device in index:
                self._mask_keys[index[device]] = wire.decode(payload, KeyAdvertisement).mask_key

    def __getitem__(self, place: int) -> Unmasking:
        if place not in self._revealed:
            raise KeyError(place)
        return wire.decode(self._payload(Phase.UNMASK, place), Unmasking)

    def __iter__(self) -> Iterator[int]:
        return iter(self._revealed)

    def __len__(self) -> int:
        return len(self._revealed)

    def mask_key(self, index: int) -> bytes:
        return self._mask_keys[index]

    def seed_commitment(self, index: int) -> bytes:
        return wire.decode(self._payload(Phase.SHARE, index), EncryptedShares).seed_commitment

    def _payload(self, phase: Phase, place: int) -> bytes:
        return message_store.payload(self._connection, self._row.id, phase, self._device[place]) or b""


def open_sum(database: Database, row: Round, executor: Executor | None) -> OpenedSum:
    """Open the sum of a round's vectors and decode it.

    Raises
    ------
    FederatedProtocolError
        when the shares do not open the sum, or it exceeds what the cohort can add up to.
    """
    opened = open_vector(database, row, executor)
    return OpenedSum(opened.plan, opened.vector, decode_sum(opened.vector, opened.plan.codec, opened.devices))


def open_vector(database: Database, row: Round, executor: Executor | None) -> OpenedVector:
    """Add the masked inputs and take the masks off, from stored messages alone.

    The inputs are read and added in a thread beside, while the executor's workers expand the masks.

    Raises
    ------
    FederatedProtocolError
        when the shares do not open the sum.
    """
    plan = decode_plan(row.plan or b"")
    layout = vector_layout(plan)
    with database.reading() as connection, ThreadPoolExecutor(1, "masked-inputs") as beside:
        members = [m for m in participant_store.all_participants(connection, row.id) if m.position]
        index = {member.device: member.position or 0 for member in members}
        u2 = [index[m.device] for m in members if m.answered(Phase.SHARE)]
        u3 = [index[m.device] for m in members if m.answered(Phase.MASKED_INPUT)]
        adding = beside.submit(_add_inputs, database, row, layout, index)
        stored = _StoredRound(connection, row, index)
        masks = sum_of_masks(run_context(row), stored, u2, u3, stored, layout.length, executor)
        masked_sum = adding.result()
    if masked_sum.members != frozenset(u3):
        raise ProtocolError(ProtocolErrorReason.BAD_VECTOR, "the stored inputs are not those of the survivors")
    return OpenedVector(plan, masked_sum.without(masks), len(u3))


def _add_inputs(database: Database, row: Round, layout: VectorLayout, index: Mapping[bytes, int]) -> MaskedSum:
    total = MaskedSum(layout)
    with database.reading() as connection:
        for device, payload in message_store.payloads(connection, row.id, Phase.MASKED_INPUT):
            total.add(index[device], wire.decode(payload, MaskedInput))
    return total


def publish(
    database: Database,
    settings: Settings,
    cohorts: Sequence[Round],
    now: float,
    *,
    optimizer: ServerOptimizer,
    prior_weight: float = 0.0,
) -> int | None:
    """Make the next model from the opened sums of a round and publish it with the round's end, both or neither.

    A cohort that deviates from the others is left out and ends as abandoned, in the same transaction.

    Returns the version, or None when the model is rejected. When another process published this round meanwhile, its
    version is returned and nothing is written.
    """
    plan = decode_plan(cohorts[0].plan or b"")
    with database.reading() as connection:
        base, optimizer_state = load_artifact(connection, cohorts[0].base_version)
        histograms = _histograms(connection, settings, plan)
    try:
        sums, left_out = agreeing_sums([cohort_sum(row) for row in cohorts], settings.rounds.largest_deviation)
        threshold = calibrate_threshold(
            histograms.expected(),
            base.threshold,
            keep_clicks=settings.metrics.keep_clicks,
            smallest_click_mass=settings.metrics.smallest_click_mass,
        )
        following = make_next_model(
            base,
            weights_of(base),
            optimizer_state,
            sums,
            optimizer,
            threshold,
            prior_weight=prior_weight,
        )
    except (GateRejectedError, CodecError) as error:
        log_failure(Event.SUM_FAILED, error, round=cohorts[0].number)
        return None
    examples = counter_names(plan.metrics).index("examples") if plan.metrics.exact else None
    with database.writing() as connection:
        version = following.artifact.version
        kept = [row for place, row in enumerate(cohorts) if place not in left_out]
        if take_all(connection, kept, RoundEvent.PASSED, now, published_version=version):
            leave_out(connection, cohorts, left_out, now)
            added = add_model(
                connection,
                following.artifact,
                optimizer_state=following.optimizer_state,
                round_id=kept[0].id,
                now=now,
                participants=sum(found.devices for found in sums),
                examples=0 if examples is None else sum(int(found.decoded.counters[examples]) for found in sums),
                update_norm=following.update_norm,
            )
            if not added:
                raise RuntimeError("this version exists already: the round is rolled back and stays as it was")
            if settings.releases.evaluation_gate:
                hold_back(connection, version, now=now)
    return version


def leave_out(connection: Connection, cohorts: Sequence[Round], places: frozenset[int], now: float) -> None:
    """End the cohorts at these places as deviant."""
    deviant = [cohorts[place] for place in sorted(places)]
    take_all(connection, deviant, RoundEvent.REJECTED, now, reason=AbandonReason.DEVIANT_COHORT)


def cohort_sum(row: Round) -> CohortSum:
    """What the opened sum of a cohort decodes to."""
    codec, devices = decode_plan(row.plan or b"").codec, row.inputs or 0
    decoded = decode_sum(np.frombuffer(row.aggregate or b"", dtype="<u4"), codec, devices)
    return CohortSum(decoded, codec, devices)


def _histograms(connection: Connection, settings: Settings, plan: Plan) -> ScoreHistograms:
    """Score histograms of the newest rounds that used the same bins, newest first, each over all its cohorts."""
    metrics = plan.metrics
    by_round: dict[tuple[int, int], list[int]] = {}
    for round_id in metric_store.newest_counted_rounds(connection, (settings.task,), HISTOGRAM_ROUNDS):
        row = round_store.round_by_id(connection, round_id)
        if row is not None and _same_bins(row.plan, plan):
            by_round.setdefault((row.number, row.attempt), []).append(round_id)
    return ScoreHistograms.accumulate(
        (metric_store.added_sums(connection, cohorts) for cohorts in by_round.values()),
        metrics.score_edges,
        metrics.propensity_scale,
        settings.metrics.history_decay,
    )


def _same_bins(earlier: bytes | None, plan: Plan) -> bool:
    if earlier is None:
        return False
    try:
        found = decode_plan(earlier).metrics
    except msgspec.MsgspecError:  # of another program version
        return False
    return found.score_edges == plan.metrics.score_edges and found.propensity_scale == plan.metrics.propensity_scale
