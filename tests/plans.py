"""A plan as a coordinator sends it, for tests that say only what they are about."""

from __future__ import annotations

from typing import Any

import msgspec

from federated_protocol.plan import (
    PROTOCOL_VERSION,
    AggregationSetting,
    CodecSetting,
    MetricSetting,
    Plan,
    TaskKind,
    TrainingSetting,
)

TRAINING = TrainingSetting(epochs=1, batch_size=16, learning_rate=0.1, weight_cap=64)


def plan_with(codec: CodecSetting, **changes: Any) -> Plan:
    """Training of version 2 in round 3 by 20 to 100 devices, nothing counted, no noise; ``changes`` by field."""
    plan = Plan(
        protocol_version=PROTOCOL_VERSION,
        task="suggestions",
        kind=TaskKind.TRAINING,
        round=3,
        attempt=1,
        session="session",
        model_version=2,
        model_digest="ab" * 32,
        training=TRAINING,
        codec=codec,
        aggregation=AggregationSetting(smallest_aggregate=20, largest_cohort=100),
        metrics=MetricSetting(slots=(), score_edges=()),
    )
    return msgspec.structs.replace(plan, **changes)
