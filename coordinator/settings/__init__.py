"""Settings of one coordinator: defaults, a TOML file, environment variables, options; in this order, last wins.

- `schema`: every setting: its section, type, default and meaning
- `checks`: ranges, and what settings must be to one another
- `loading`: from file, environment and options, and back to a file

The TOML mirrors the structs of `schema`, e.g.::

    database_url = "sqlite:///coordinator.sqlite"
    authority_public_key = "c0ffee..."      # hex, see public.key of `authority init`

    [rounds]
    goal_count = 60
    minimum_count = 20

    [training]
    epochs = 2

Environment variables are ``COORDINATOR_`` and the path in upper case, joined by two underscores:
``COORDINATOR_ROUNDS__GOAL_COUNT=60``.
"""

from coordinator.settings.checks import validate
from coordinator.settings.loading import as_toml, load_settings, parse_value
from coordinator.settings.schema import (
    CodecTarget,
    DeadlineSettings,
    FsvrgSettings,
    MetricSettings,
    OperatorSettings,
    OptimizerSettings,
    PaceSettings,
    PrivacySettings,
    ReleaseSettings,
    RoundSettings,
    Settings,
    UnmaskingSettings,
)

__all__ = [
    "CodecTarget",
    "DeadlineSettings",
    "FsvrgSettings",
    "MetricSettings",
    "OperatorSettings",
    "OptimizerSettings",
    "PaceSettings",
    "PrivacySettings",
    "ReleaseSettings",
    "RoundSettings",
    "Settings",
    "UnmaskingSettings",
    "as_toml",
    "load_settings",
    "parse_value",
    "validate",
]
