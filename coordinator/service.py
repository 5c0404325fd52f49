"""One coordinator, assembled: database, models, rounds. The web layer and the CLI talk to this object."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.operation.high_water import HighWater, high_water_path
from coordinator.operation.population import Population
from coordinator.privacy.ledger import book_missing
from coordinator.releases import ModelStore, shipped_artifact
from coordinator.releases.steward import RolloutSteward
from coordinator.rounds.admission import Admission
from coordinator.rounds.driver import RoundDriver, Ticker
from coordinator.rounds.intake import Intake
from coordinator.rounds.waiting import RoundWatch
from coordinator.settings import Settings, validate
from coordinator.storage import Database
from coordinator.trust import Trust
from federated_protocol.messages import ModelArtifact

if TYPE_CHECKING:
    from coordinator.releases.metadata_publisher import MetadataPublisher

FLUSH_S = 10.0
"""How often counts of check-ins are written down."""


class Coordinator:
    """Everything one process needs to serve a task. Holds no state that another process would miss.

    Parameters
    ----------
    initial_model
        Version 0 of a new database; the shipped bundle's when None.
    clock
        Unix time in seconds.
    executor
        Expands masks when a sum is opened; the calling thread when None.
    rng
        For pace jitter, nothing secret.

    Raises
    ------
    SettingsError, StorageError, ReleaseError
        with what to do about it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        initial_model: ModelArtifact | None = None,
        clock: Callable[[], float] = time.time,
        executor: Executor | None = None,
        rng: random.Random | None = None,
    ) -> None:
        validate(settings)
        self.settings = settings
        self.clock = clock
        first = initial_model or shipped_artifact(
            settings.head
        )  # a damaged bundle must not leave an empty database behind
        self.database = Database(settings.database_url)
        self._ticker: Ticker | None = None
        self._flush_at = 0.0
        self.stopping = threading.Event()
        """Set when the process is about to end: streams finish."""
        try:
            self.models = ModelStore(self.database)
            self.models.ensure_initial(first, clock())
            self._never_less_spent()
            self.driver = RoundDriver(self.database, settings, executor=executor)
            self.trust = Trust(settings)
            self.admission = Admission(self.database, settings, self.trust, self.wake, rng)
            self.watch = RoundWatch()
            self.intake = Intake(self.database, settings, self.trust, self.wake, self.clock, self.watch)
            self.steward = RolloutSteward(self.database, settings)
            self.population = Population(self.database)
            self.admission.on_check_in = self.population.saw
            self.admission.on_come_back = self.population.told
            self.admission.active_devices = self.population.active
            self.publisher = self._publisher()
            self.driver.resume(clock())
        except BaseException:
            self.database.close()
            raise

    def _never_less_spent(self) -> None:
        """An older database that was put in place by hand has not given privacy back."""
        marks = high_water_path(self.settings)
        spent = {} if marks is None else HighWater.read(marks).spent
        if spent:
            with self.database.writing() as connection:
                book_missing(connection, spent)

    def _publisher(self) -> MetadataPublisher | None:
        """The signer of releases, where keys are configured."""
        if not self.settings.releases.keys:
            return None
        from coordinator.releases.metadata_publisher import MetadataPublisher

        publisher = MetadataPublisher(self.database, Path(self.settings.releases.keys), self.clock)
        publisher.bring_up_to_date()  # missing keys are explained at the start
        return publisher

    def tick(self, now: float) -> None:
        """Move rounds on, look after rollouts, write counts down."""
        self.driver.tick(now)
        self.watch.saw(self.driver.running())
        self.steward.tick(now)
        if now >= self._flush_at:
            self._flush_at = now + FLUSH_S
            self.population.flush(now)

    def wake(self) -> None:
        """Something is due now: let the ticker know, or tick in this thread when there is none."""
        if self._ticker is not None:
            self._ticker.wake()
        else:
            self.tick(self.clock())

    def start_ticking(self, interval_s: float = 0.25) -> None:
        """Start the thread that closes phases and opens rounds; without it, requests and the caller have to tick."""
        if self._ticker is None:
            self._ticker = Ticker(self, self.clock, interval_s)
            self._ticker.start()
            self.watch.begin()

    @property
    def ticking(self) -> bool:
        """Whether a ticker thread runs in this process."""
        return self._ticker is not None

    def stop(self) -> None:
        """The process is about to end: streams finish, and nobody waits any more."""
        self.stopping.set()
        self.watch.end()

    def close(self) -> None:
        """End streams, stop ticking and close the database."""
        self.stop()
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None
        with contextlib.suppress(Exception):  # the counts of the last seconds are worth no failed stop
            self.population.flush(self.clock())
        self.database.close()
