"""Many headless devices in one process: days of typing, then a night of learning, again and again.

Each device has its own home directory, log, identity, model store and engine, and runs the code a window runs. What a
person typed in the training days of the replay is cut into as many slices as there are rounds. A slice is typed, then
all devices are idle, charging and unmetered until the round is over. A fraction of the devices vanishes in a random
phase of each round and comes back afterwards. After the last round the held-back days are typed with the last model;
nothing trains on them.
"""

from __future__ import annotations

import heapq
import random
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

from federated_protocol.messages import Phase
from keyboard_app.device.identity import HOLDBACK
from keyboard_app.device.participation_states import ClientState, EndKind
from keyboard_app.simulation import progress
from keyboard_app.simulation.hosted_device import DeviceDied, HostedDevice, Surroundings
from keyboard_app.simulation.person import Tally, TypingMode
from keyboard_app.simulation.replay import OnError, ReplayLine
from keyboard_app.simulation.splits import load_people, outline
from keyboard_app.simulation.typist import Typist, TypistSetting

PHASES = tuple(Phase)
BETWEEN_ROUNDS = frozenset(
    ("waiting", ClientState.CHECKING_IN, ClientState.REFRESHING, ClientState.AWAITING_PLAN, ClientState.DONE)
)
"""Phases of a device's status in which no round counts on it."""
REPORT_EVERY_S = 0.25
TIMEZONE = UTC
"""Zone of the fleet's people: replays are read the same on every machine."""


class FleetError(ValueError):
    """A fleet cannot begin; the message says what to do."""


@dataclass(frozen=True, slots=True)
class FleetSetting:
    """What one fleet process does."""

    coordinator_url: str
    identities: Path
    """Directory with one home directory a device, as ``authority issue --count`` makes it."""
    replay: Path
    catalog: Path | None
    """None for the catalog that ships with the package."""
    devices: int
    """Devices of all shards together."""
    rounds: int
    shard: int = 1
    """This process's part, 1..shards."""
    shards: int = 1
    seed: int = 0
    dropout: float = 0.0
    """Share of devices that vanish in each round, in [0, 1)."""
    mode: TypingMode = "keys"
    typist: TypistSetting = field(default_factory=TypistSetting)
    smallest_aggregate: int = 2
    round_timeout_s: float = 120.0
    """A night that takes longer is given up."""
    skip_broken_lines: bool = False


def device_homes(identities: Path, count: int) -> list[Path]:
    """The first ``count`` device homes in a directory.

    Raises:
        FleetError: there are fewer.
    """
    homes = sorted(path for path in identities.glob("device-*") if path.is_dir())
    if len(homes) < count:
        raise FleetError(
            f"{identities} holds {len(homes)} device homes, {count} are needed: make them with "
            f"`authority issue AUTHORITY --count {count} --out {identities}`"
        )
    return homes[:count]


class Fleet:
    """One shard of a fleet.

    Arguments:
        setting: what it does.
        report: told about progress.
        wait_for_others: called when a slice is typed; returns when all shards have typed theirs, so that their devices
            meet in one round.
        sleep: waits, in seconds.

    Raises:
        FleetError: too few device homes.
        ReplayError: the replay cannot be used, or holds fewer people than devices.
        CatalogError, BundleError, OSError: what a device needs cannot be read.
    """

    def __init__(
        self,
        setting: FleetSetting,
        report: Callable[[progress.Progress], None],
        wait_for_others: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 1 <= setting.shard <= setting.shards:
            raise FleetError(f"shard {setting.shard} of {setting.shards} does not exist; shards count from 1")
        self._setting = setting
        self._report = report
        self._wait_for_others = wait_for_others
        self._sleep = sleep
        on_error: OnError = "skip" if setting.skip_broken_lines else "raise"
        seen = outline(setting.replay, on_error)
        chosen = seen.choose(setting.devices, setting.seed)
        homes = device_homes(setting.identities, setting.devices)
        mine = list(zip(homes, chosen, strict=True))[setting.shard - 1 :: setting.shards]
        people = load_people(setting.replay, seen, [user for _, user in mine], on_error)
        parts = {user: cut(person.training, setting.rounds) for user, person in people.items()}
        self._slices = [{user: parts[user][number] for user in parts} for number in range(setting.rounds)]
        shared = self._surroundings()
        self.devices = [HostedDevice(people[user], home, shared) for home, user in mine]
        self._rng = random.Random(f"fleet/{setting.seed}/{setting.shard}")

    def _surroundings(self) -> Surroundings:
        from suggestion_model.bundle import Bundle
        from suggestion_model.catalog import load_catalog, shipped_catalog
        from suggestion_model.runtime import Ranker

        setting = self._setting
        bundle = Bundle.shipped()
        return Surroundings(
            coordinator_url=setting.coordinator_url,
            bundle=bundle,
            catalog=load_catalog(setting.catalog) if setting.catalog is not None else shipped_catalog(),
            typist=Typist(setting.typist),
            training_ranker=Ranker(bundle),
            mode=setting.mode,
            smallest_aggregate=setting.smallest_aggregate,
            seed=setting.seed,
            timezone=TIMEZONE,
        )

    def run(self) -> None:
        """Type and learn, slice by slice, then type the held-back days."""
        shard, devices = self._setting.shard, self.devices
        lines = sum(len(typed) for part in self._slices for typed in part.values())
        self._report(progress.FleetReady(shard, len(devices), lines, peak_rss_mib()))
        try:
            for number, part in enumerate(self._slices, start=1):
                self._type(number, part)
                self._wait_for_others()
                self._learn(number)
            held_back = {device.person.user: device.person.scoring for device in devices}
            self._type(len(self._slices) + 1, held_back)
            self._report(
                progress.FleetDone(
                    shard, self._versions(), len(devices), sum(device.bytes_up for device in devices), peak_rss_mib()
                )
            )
        finally:
            for device in devices:
                device.close()

    # -- the day -------------------------------------------------------------------------------------------------

    def _type(self, number: int, part: Mapping[str, Sequence[ReplayLine]]) -> None:
        started = reported = time.monotonic()
        total = Tally()
        by_version: dict[int, Tally] = defaultdict(Tally)
        for done, device in enumerate(self.devices):
            tally = device.owner.type_lines(part[device.person.user])
            total.merge(tally)
            if device.runtime.arm != HOLDBACK:
                by_version[device.version].merge(tally)
            if time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                self._report(progress.Typing(self._setting.shard, number, done + 1, len(self.devices)))
        self._report(
            progress.Typed(
                self._setting.shard,
                number,
                {v: progress.VersionTally(t.lines, t.offers, t.clicks) for v, t in sorted(by_version.items())},
                total.lines,
                time.monotonic() - started,
            )
        )

    # -- the night -----------------------------------------------------------------------------------------------

    def _learn(self, number: int) -> None:
        """Step all devices until each of them has a newer model than any had before, or the night's time is over.

        That may take several rounds: sums that only prepare a version, and one in which devices judge it.
        """
        started = reported = time.monotonic()
        shard, devices = self._setting.shard, self.devices
        before = max(device.version for device in devices)
        in_round: set[int] = set()
        out: set[int] = set()
        bytes_before = sum(device.bytes_up for device in devices)
        rounds_before = sum(device.runtime.status.rounds_joined for device in devices)
        for device in devices:
            device.plug_in()
            device.transport.doomed = self._rng.choice(PHASES) if self._rng.random() < self._setting.dropout else None
        vanished = 0
        waiting = set(range(len(devices)))
        due = [(started, index) for index in waiting]
        heapq.heapify(due)
        while due and time.monotonic() - started < self._setting.round_timeout_s:
            at, index = heapq.heappop(due)
            if (pause := at - time.monotonic()) > 0:
                self._sleep(pause)
            device = devices[index]
            try:
                wait = device.runtime.step()
            except DeviceDied as death:
                self._report(progress.Vanished(shard, number, death.phase.value))
                vanished += 1
                device.pick_up()
                device.revive()
                wait = 0.0
            status = device.runtime.status
            if status.phase not in BETWEEN_ROUNDS:
                in_round.add(index)
            elif status.phase == "waiting" and status.last_end is EndKind.ABANDONED:
                in_round.discard(index)  # an abandoned round is tried again
            done = device.version > before
            if index in in_round and status.phase == "waiting":
                in_round.discard(index)
                if not done and status.last_end is EndKind.FINISHED:  # a round is over, the night is not
                    for other in out:
                        devices[other].plug_in()
                    out.clear()
                else:
                    out.add(index)
            # Whoever is done, or missed a phase, must not join the next round while others are in this one.
            if done or index in out:
                device.pick_up()
            if done and status.phase == "waiting":
                waiting.discard(index)
            else:
                heapq.heappush(due, (time.monotonic() + wait, index))
            if time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                self._report(progress.Joining(shard, number, len(devices) - len(waiting), len(devices)))
        for device in devices:
            device.pick_up()
            device.transport.doomed = None
        if waiting:
            self._report(progress.Trouble(shard, number, progress.StopReason.TIMEOUT, len(waiting)))
        self._report(
            progress.RoundOver(
                shard,
                number,
                self._versions(),
                took_part=sum(device.runtime.status.rounds_joined for device in devices) - rounds_before,
                vanished=vanished,
                bytes_up=sum(device.bytes_up for device in devices) - bytes_before,
                seconds=time.monotonic() - started,
            )
        )

    def _versions(self) -> dict[int, int]:
        return dict(sorted(Counter(device.version for device in self.devices).items()))


def cut(lines: Sequence[ReplayLine], parts: int) -> list[Sequence[ReplayLine]]:
    """Cut lines into so many runs, their lengths as equal as possible."""
    return [lines[len(lines) * part // parts : len(lines) * (part + 1) // parts] for part in range(parts)]


def peak_rss_mib() -> float:
    """Largest resident set of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
