"""Bodies of the calls operators make."""

from __future__ import annotations

import msgspec

from coordinator.releases.rollout import RolloutArms


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /admin/session``."""

    account: str
    password: str


class RolloutChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /admin/models/{version}/rollout``."""

    percent: float
    arms: RolloutArms | None = None
    """Which arms rank with it; as before when left out."""


class SessionState(msgspec.Struct, frozen=True):
    """Who is signed in; all None when nobody is."""

    account: str | None = None
    role: str | None = None
    csrf: str | None = None


class RolloutState(msgspec.Struct, frozen=True):
    """How far a version has come."""

    version: int
    state: str
    percent: float
    arms: RolloutArms
    reason: str


class ReleasesState(msgspec.Struct, frozen=True):
    """The rollout of every version, newest first, and the kill switch."""

    paused: bool
    rollouts: tuple[RolloutState, ...]
