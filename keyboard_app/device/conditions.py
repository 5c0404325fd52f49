"""Idle, charging, unmetered: may this device work for others right now?

Each of the three is known to hold, known not to hold, or unknown. A desktop in a container has neither a battery nor a
system bus: what cannot be asked is *unknown*, which never speaks against training; only a known "no" does. Nothing
found here is ever sent anywhere.

Sources: psutil for the battery; over the system D-Bus, where `jeepney` is installed and the service is present,
logind's ``IdleHint``, NetworkManager's ``Metered`` and UPower's ``OnBattery``; and the keyboard's own last key press.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

Asked = bool | None
"""True, False, or None for unknown."""


@dataclass(frozen=True, slots=True)
class ConditionReport:
    """What is known at one moment."""

    idle: Asked = None
    charging: Asked = None
    unmetered: Asked = None

    @property
    def allow_training(self) -> bool:
        """Nothing is known to speak against training and joining a round."""
        return self.missing is None

    @property
    def allow_news(self) -> bool:
        """Asking for the current model costs a few hundred bytes; a metered network still forbids it."""
        return self.unmetered is not False

    @property
    def missing(self) -> str | None:
        """The first condition known not to hold, in words for the person, or None."""
        if self.charging is False:
            return "not charging"
        if self.unmetered is False:
            return "metered network"
        if self.idle is False:
            return "in use"
        return None


class Conditions(Protocol):
    """Anything that can be asked; asked often, so it must be cheap."""

    def now(self) -> ConditionReport:
        """Report the conditions at this moment."""
        ...


class FixedConditions:
    """Conditions that never change: servers, fleets, demos, tests."""

    def __init__(self, idle: Asked = True, charging: Asked = True, unmetered: Asked = True) -> None:
        self._report = ConditionReport(idle, charging, unmetered)

    def now(self) -> ConditionReport:
        """Return the report given at construction."""
        return self._report


class SwitchedConditions:
    """Switches a person, a demo or a test can flip; laid over other conditions where a switch is set."""

    def __init__(self, beneath: Conditions | None = None) -> None:
        self._beneath = beneath or FixedConditions()
        self._lock = threading.Lock()
        self._switches: dict[str, bool] = {}

    def set(self, *, idle: Asked = None, charging: Asked = None, unmetered: Asked = None) -> None:
        """Set the given switches; None leaves a switch as it is."""
        with self._lock:
            for name, value in (("idle", idle), ("charging", charging), ("unmetered", unmetered)):
                if value is not None:
                    self._switches[name] = value

    @property
    def switches(self) -> dict[str, bool]:
        """The switches that are set, by condition."""
        with self._lock:
            return dict(self._switches)

    def clear(self) -> None:
        """Let all conditions through again."""
        with self._lock:
            self._switches.clear()

    def now(self) -> ConditionReport:
        """The conditions beneath, overridden by the switches that are set."""
        found = self._beneath.now()
        with self._lock:
            return ConditionReport(
                self._switches.get("idle", found.idle),
                self._switches.get("charging", found.charging),
                self._switches.get("unmetered", found.unmetered),
            )


class SystemConditions:
    """Ask the operating system, at most once every ``cache_s`` seconds.

    Args:
        last_activity: when the keyboard was last used, in seconds of ``monotonic``; None while it never was.
        idle_after_s: seconds without a key press after which the keyboard counts as idle.
        cache_s: age in seconds up to which an answer is reused.
        monotonic: clock in seconds.
        use_dbus: False leaves the system bus alone.
    """

    def __init__(
        self,
        last_activity: Callable[[], float | None] = lambda: None,
        idle_after_s: float = 120.0,
        cache_s: float = 20.0,
        monotonic: Callable[[], float] = time.monotonic,
        use_dbus: bool = True,
    ) -> None:
        self._last_activity = last_activity
        self._idle_after_s = idle_after_s
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._bus = SystemBus() if use_dbus else None
        self._asked_at = -float("inf")
        self._asked = ConditionReport()

    def now(self) -> ConditionReport:
        """Report, from the cache where it is fresh; the keyboard's own activity is never cached."""
        moment = self._monotonic()
        if moment - self._asked_at >= self._cache_s:
            self._asked, self._asked_at = self._ask(), moment
        last = self._last_activity()
        if last is not None and moment - last < self._idle_after_s:
            return ConditionReport(False, self._asked.charging, self._asked.unmetered)
        return self._asked

    def _ask(self) -> ConditionReport:
        idle = metered = on_battery = None
        if self._bus is not None:
            idle, metered, on_battery = self._bus.ask()
        charging = battery_charging()
        if charging is None and on_battery is not None:
            charging = not on_battery
        return ConditionReport(idle, charging, None if metered is None else not metered)


def battery_charging() -> Asked:
    """Whether the battery's charger is plugged in; None where there is no battery to ask."""
    psutil = import_module("psutil")  # 20 ms, and only asked for where no override stands
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # platforms without the call, unreadable /sys
        return None
    if battery is None or battery.power_plugged is None:
        return None
    return bool(battery.power_plugged)


_LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "IdleHint")
_NETWORK = (
    "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager", "Metered",
)  # fmt: skip
_UPOWER = ("org.freedesktop.UPower", "/org/freedesktop/UPower", "org.freedesktop.UPower", "OnBattery")
# NMMetered: 1 yes, 2 no, 3 guessed yes, 4 guessed no; anything else is unknown.
_NM_METERED = {1: True, 2: False, 3: True, 4: False}


class SystemBus:
    """Three properties of three services on the system bus, each None where it cannot be had."""

    def __init__(self, timeout_s: float = 0.2) -> None:
        self._timeout_s = timeout_s
        self._absent = False

    def ask(self) -> tuple[Asked, Asked, Asked]:
        """Return (idle, metered, on battery)."""
        if self._absent:
            return None, None, None
        try:
            blocking = import_module("jeepney.io.blocking")
        except ImportError:
            self._absent = True
            return None, None, None
        try:
            connection = blocking.open_dbus_connection(bus="SYSTEM")
        except Exception:
            # No bus, no socket, no address, no permission: the ways to be absent are many, and all mean "unknown".
            return None, None, None
        try:
            idle = self._property(connection, *_LOGIND)
            metered = self._property(connection, *_NETWORK)
            on_battery = self._property(connection, *_UPOWER)
        finally:
            connection.close()
        return (
            idle if isinstance(idle, bool) else None,
            _NM_METERED.get(metered) if isinstance(metered, int) else None,
            on_battery if isinstance(on_battery, bool) else None,
        )

    def _property(self, connection: Any, service: str, path: str, interface: str, name: str) -> object:
        jeepney = import_module("jeepney")
        message = jeepney.Properties(jeepney.DBusAddress(path, service, interface)).get(name)
        try:
            reply = connection.send_and_get_reply(message, timeout=self._timeout_s)
        except Exception:  # see above: a service that hangs, vanishes or answers garbage is unknown
            return None
        if reply.header.message_type is not jeepney.MessageType.method_return:
            return None
        try:
            return reply.body[0][1]
        except (IndexError, TypeError):
            return None
