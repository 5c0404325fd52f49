"""The device's own half of a round, and everything that decides whether it takes part.

- `conditions`, `schedule`: may it work now, and when is it time to check in
- `identity`: its key, certificate and experiment arm
- `policy`: the limits pinned on it, which no plan can weaken
- `transport`: the coordinator's HTTP API, with three ways to fail
- `model_store`: verified models on disk; current, previous, v0
- `local_work`: training on the log, counting, encoding; `sparse_descent`: the same for the rounds of FSVRG
- `participation_states`, `participation`: one participation, as a machine that is stepped
- `history`: the rounds it took part in
- `round_attendance`: one participation after the other, as schedule, conditions and owner allow
- `personal_model`, `personal_training`: training for the owner alone
- `ranking_choice`: which of all these models ranks
- `runtime`, `background`, `status`: :class:`DeviceRuntime`, which puts them together for the window and for fleets
- `headless`, `replayed_owner`, `commands`: ``keyboard-app device``, a device without a window, and who types on it
"""

from keyboard_app.device.conditions import (
    ConditionReport,
    Conditions,
    FixedConditions,
    SwitchedConditions,
    SystemConditions,
)
from keyboard_app.device.identity import DeviceIdentity, IdentityError
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.round_attendance import Enrolment
from keyboard_app.device.runtime import DeviceRuntime
from keyboard_app.device.schedule import ScheduleSetting
from keyboard_app.device.status import DeviceStatus

__all__ = [
    "ConditionReport",
    "Conditions",
    "DeviceIdentity",
    "DevicePolicy",
    "DeviceRuntime",
    "DeviceStatus",
    "Enrolment",
    "FixedConditions",
    "IdentityError",
    "ScheduleSetting",
    "SwitchedConditions",
    "SystemConditions",
]
