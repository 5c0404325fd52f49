"""Whole rounds with the real protocol clients: sums are exact, whoever vanishes, and each is published once."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator.releases.model_store import current_model
from coordinator.rounds.subset import coordinates_sent
from coordinator.settings import CodecTarget
from federated_protocol import wire
from federated_protocol.messages import Abandoned, AbandonReason, Finished, ModelArtifact, Phase
from federated_protocol.plan import counter_names
from suggestion_model.bundle import Bundle


def weights(deployment, version):
    artifact = wire.decode(deployment.coordinator.models.artifact(version), ModelArtifact)
    return np.frombuffer(artifact.weights, "<f4").astype(float)


def weighted_mean(devices):
    total = sum(device.weight for device in devices)
    return sum(device.weight * device.update for device in devices) / total


def assert_published_mean_of(deployment, devices):
    row = deployment.coordinator_rounds(1)[0]
    assert (row.state.value, row.inputs) == ("published", len(devices))
    change = weights(deployment, 1) - weights(deployment, 0)
    assert np.allclose(change, weighted_mean(devices), atol=2e-3)
    metrics = devices[0].plan.metrics
    from coordinator.experiments.metric_store import sums_of

    with deployment.coordinator.database.reading() as connection:
        sums = sums_of(connection, row.id)
    assert sums == {name: i * len(devices) for i, name in enumerate(counter_names(metrics))}


def test_a_round_with_everybody_publishes_the_weighted_mean(deployment):
    devices = deployment.select(10)
    deployment.run_round(devices)
    assert_published_mean_of(deployment, devices)
    for device in devices:
        answer = device.get("unmask")
        assert isinstance(answer, Finished)
        assert answer.current.version == 1
        assert answer.participants == 10


def test_of_a_model_with_many_weights_a_fresh_subset_travels(deploy):
    deployment = deploy(codec={"most_sent": 6, "subset_block": (2, 20)}, rounds={"pause_s": 0.0})
    moved = []
    for number in (1, 2):
        devices = deployment.select(10)
        subset = devices[0].plan.codec.subset
        assert [(block.length, block.chosen) for block in subset] == [(2, 2), (20, 6), (2, 2)]
        deployment.run_round(devices)
        change = weights(deployment, number) - weights(deployment, number - 1)
        expected = weighted_mean(devices)
        always = np.r_[0:2, 22:24]
        assert np.allclose(change[always], expected[always], atol=2e-3)
        chosen = 2 + np.flatnonzero(change[2:22])
        assert len(chosen) <= 6
        # Scaled, so that the mean over subsets is right.
        assert np.allclose(change[chosen], expected[chosen] * 20 / 6, atol=8e-3)
        moved.append(set(chosen))
    assert moved[0] != moved[1]


@pytest.mark.parametrize("phase", list(Phase))
def test_when_30_percent_vanish_in_a_phase_the_sum_is_exactly_that_of_the_rest(deployment, phase):
    devices = deployment.select(10)
    deployment.run_round(devices, vanish={phase: 3})
    summed = devices if phase in (Phase.CONFIRM, Phase.UNMASK) else devices[3:]
    assert_published_mean_of(deployment, summed)


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        (Phase.ADVERTISE, AbandonReason.TOO_FEW_ADVERTISED),
        (Phase.SHARE, AbandonReason.TOO_FEW_SHARED),
        (Phase.MASKED_INPUT, AbandonReason.TOO_FEW_INPUTS),
        (Phase.CONFIRM, AbandonReason.TOO_FEW_CONFIRMED),
        (Phase.UNMASK, AbandonReason.TOO_FEW_UNMASKED),
    ],
)
def test_when_too_many_vanish_the_round_is_abandoned_with_its_reason_and_nothing_opened(deployment, phase, reason):
    devices = deployment.select(10)
    present = devices
    for step in Phase:
        if step is phase:
            present = devices[8:]
        deployment.run_phase(step, present)
        if step is phase:
            deployment.tick(100.0)
            break
    row = deployment.coordinator_rounds(1)[0]
    assert (row.state.value, row.reason) == ("abandoned", reason)
    assert devices[9].get(phase.value) == Abandoned(reason=reason)
    with deployment.coordinator.database.reading() as connection:
        assert current_model(connection).version == 0


def test_by_default_every_weight_of_the_shipped_head_travels():
    dimension = Bundle.shipped().dimension
    assert coordinates_sent(CodecTarget(), dimension) == dimension
