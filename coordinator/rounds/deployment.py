"""Which tasks a deployment with given settings runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from coordinator.rounds.fsvrg import FsvrgTask
from coordinator.rounds.tasks import AnalyticsTask, EvaluationTask, RoundTask, TrainingTask
from coordinator.settings import Settings

_TRAINING: Mapping[str, Callable[[Settings], RoundTask]] = MappingProxyType(
    {"fedavg": TrainingTask, "fsvrg": FsvrgTask}
)
"""By the settings' algorithm."""


def tasks_of(settings: Settings) -> tuple[RoundTask, ...]:
    """The tasks of a deployment, most urgent first: a check-in joins the first that is selecting."""
    tasks: list[RoundTask] = [_TRAINING[settings.algorithm](settings)]
    if settings.releases.evaluation_gate:
        tasks.insert(0, EvaluationTask(settings))
    if settings.metrics.analytics_every_s:
        tasks.append(AnalyticsTask(settings))
    return tuple(tasks)
