"""Check-ins: who is enrolled, who joins the round that is selecting, who comes back later.

The coordinator learns of a device: its certificate (a key and dates) and that it was willing now. A check-in with a
nonce seen before joins nothing: identical bytes get the stored answer, others are refused.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from coordinator.errors import RequestRefusedError
from coordinator.privacy.ledger import overspends
from coordinator.releases.rollout import offered_notice
from coordinator.rounds import pace_steering, versions
from coordinator.rounds.deployment import tasks_of
from coordinator.rounds.states import RoundState
from coordinator.rounds.tasks import RoundTask
from coordinator.settings import Settings
from coordinator.storage import Database, message_store, participant_store, round_store
from coordinator.storage.round_store import Round
from coordinator.trust import Trust
from federated_protocol import wire
from federated_protocol.enrolment import CHECK_IN_LIMIT_BYTES, open_check_in
from federated_protocol.errors import (
    BadSignature,
    CertificateExpired,
    EnrolmentError,
    MalformedMessage,
    MessageTooLarge,
)
from federated_protocol.messages import (
    CheckIn,
    ComeBack,
    ComeBackReason,
    ModelNotice,
    RefusalReason,
    Selected,
    SignedMessage,
    UpgradeRequired,
)

CLOCK_SKEW_S = 600.0
"""Largest difference between the device's clock and ours."""
NONCE_BYTES = (8, 32)


class Admission:
    """Answers check-ins.

    Parameters
    ----------
    trust
        Whose certificates count.
    wake
        Called when the selection is full, so that the round moves on at once.
    rng
        For pace jitter and first polls; nothing secret.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        trust: Trust,
        wake: Callable[[], None],
        rng: random.Random | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._trust = trust
        self._wake = wake
        self._rng = rng or random.Random()
        self._tasks = tasks_of(settings)
        self.on_check_in: Callable[[str, float], None] = lambda app_version, now: None
        """Told of every verified check-in: the app's version and the time."""
        self.on_come_back: Callable[[float, float], None] = lambda after_s, now: None
        """Told how long a device was asked to stay away, and when."""
        self.active_devices: Callable[[float], float] = lambda now: 0.0
        """Says how many devices are willing at this time of day, an estimate."""

    def check_in(self, signed: SignedMessage, now: float) -> bytes:
        """Verify a check-in and answer it; returns the encoded :data:`~federated_protocol.messages.CheckInAnswer`.

        Raises
        ------
        RequestRefusedError
            malformed, not enrolled, certificate expired, signature wrong, clock off, nonce reused.
        """
        check_in, public_key = self._verified(signed, now)
        self.on_check_in(check_in.app_version, now)
        spoken, oldest = check_in.protocol_version, versions.oldest(self._settings.algorithm)
        if spoken < oldest:
            return wire.encode(UpgradeRequired(oldest_protocol_version=oldest))
        if spoken > versions.NEWEST:
            raise RequestRefusedError(
                RefusalReason.UPGRADE_REQUIRED,
                f"this coordinator serves protocol versions up to {versions.NEWEST}: upgrade the coordinator",
            )
        if not check_in.wants_round:
            with self._database.reading() as connection:
                running = self._running(connection)
                news = self._come_back(connection, running, signed.device, ComeBackReason.NO_ROUND, now)
            return versions.encode(news, spoken)
        answer, full = self._answer_once(signed, check_in, public_key, now)
        if full:
            self._wake()
        return answer

    def _verified(self, signed: SignedMessage, now: float) -> tuple[CheckIn, bytes]:
        if len(signed.payload) > CHECK_IN_LIMIT_BYTES:
            raise RequestRefusedError(RefusalReason.TOO_LARGE, f"a check-in has at most {CHECK_IN_LIMIT_BYTES} bytes")
        try:
            check_in, certificate = open_check_in(signed, self._trust.current(now), now)
        except MessageTooLarge as error:
            raise RequestRefusedError(RefusalReason.TOO_LARGE, str(error)) from None
        except MalformedMessage as error:
            raise RequestRefusedError(RefusalReason.MALFORMED, str(error)) from None
        except CertificateExpired as error:
            raise RequestRefusedError(RefusalReason.CERTIFICATE_EXPIRED, str(error)) from None
        except EnrolmentError as error:
            raise RequestRefusedError(RefusalReason.NOT_ENROLLED, str(error)) from None
        except BadSignature as error:
            raise RequestRefusedError(RefusalReason.BAD_SIGNATURE, str(error)) from None
        if certificate.insecure_demo and not self._settings.allow_insecure_demo:
            raise RequestRefusedError(
                RefusalReason.NOT_ENROLLED,
                "this certificate is marked INSECURE DEMO: enrol with a real authority, or start a demo coordinator "
                "with --allow-insecure-demo",
            )
        if not abs(check_in.issued_at - now) <= CLOCK_SKEW_S:
            raise RequestRefusedError(
                RefusalReason.CLOCK_SKEW,
                f"the device's clock differs by more than {CLOCK_SKEW_S:.0f} s: set its clock, then check in again",
            )
        if not NONCE_BYTES[0] <= len(check_in.nonce) <= NONCE_BYTES[1]:
            raise RequestRefusedError(RefusalReason.MALFORMED, "a check-in nonce has 8 to 32 random bytes")
        return check_in, certificate.device_key

    def _answer_once(
        self, signed: SignedMessage, check_in: CheckIn, public_key: bytes, now: float
    ) -> tuple[bytes, bool]:
        digest = hashlib.sha256(signed.payload).digest()
        with self._database.writing(durable=False) as connection:  # who joined in vain checks in again
            earlier = message_store.stored_check_in(connection, signed.device, check_in.nonce)
            if earlier is not None:
                if earlier.digest == digest:
                    return earlier.answer, False
                raise RequestRefusedError(
                    RefusalReason.CONFLICTING_REPEAT, "this nonce was used for another check-in: draw a fresh one"
                )
            decided, full = self._decide(connection, signed.device, public_key, check_in, now)
            answer = versions.encode(decided, check_in.protocol_version)
            message_store.add_check_in(
                connection, device=signed.device, nonce=check_in.nonce, digest=digest, answer=answer, now=now
            )
            return answer, full

    def _decide(
        self, connection: Connection, device: bytes, public_key: bytes, check_in: CheckIn, now: float
    ) -> tuple[Selected | ComeBack, bool]:
        running = self._running(connection)
        if not running:
            spent = overspends(connection, self._settings)
            reason = ComeBackReason.PRIVACY_BUDGET if spent else ComeBackReason.NO_ROUND
            return self._come_back(connection, running, device, reason, now), False
        row = self._selecting(connection, running)
        spoken = check_in.protocol_version
        if row is None or (row.protocol_version or spoken) != spoken:  # whoever joins first says what a cohort speaks
            return self._come_back(connection, running, device, ComeBackReason.PACE, now), False
        others = [other for other in running if other.id != row.id]
        if participant_store.takes_part(connection, others, device):  # of two rounds it could answer one
            return self._come_back(connection, running, device, ComeBackReason.PACE, now), False
        cohort = row.still_in
        if cohort >= self._settings.most_selected:
            if participant_store.participant(connection, row.id, device) is None:
                return self._come_back(connection, running, device, ComeBackReason.ROUND_FULL, now), True
        elif participant_store.join(connection, row.id, device, public_key, check_in.certificate, now):
            if row.protocol_version is None:
                round_store.change_round(connection, row.id, protocol_version=spoken)
            cohort += 1
        selected = Selected(
            session=row.session,
            current=self._current(connection, device),
            retry_after_s=pace_steering.poll_interval_s(self._settings.most_selected),
        )
        return selected, cohort >= self._settings.most_selected

    def _selecting(self, connection: Connection, running: Sequence[Round]) -> Round | None:
        """The most urgent selection, locked; None when none is open, or its last moment has just passed."""
        seen = next((row for row in running if row.state is RoundState.SELECTING), None)
        row = None if seen is None else round_store.round_by_id(connection, seen.id, lock=True)
        return row if row is not None and row.state is RoundState.SELECTING else None

    def _running(self, connection: Connection) -> list[Round]:
        """What is under way, the most urgent task first."""
        return round_store.running_rounds_of(connection, [task.name for task in self._tasks])

    def _come_back(
        self, connection: Connection, running: Sequence[Round], device: bytes, reason: ComeBackReason, now: float
    ) -> ComeBack:
        limit = self._settings.rounds.max_rounds
        if limit and round_store.versions_made(connection, self._settings.task) >= limit:
            return ComeBack(
                after_s=self._settings.pace.longest_s, reason=reason, current=self._current(connection, device)
            )
        at_work = {row.task for row in running}
        hints = []
        for task in self._tasks:
            opens_at = self._opens_beside(connection, task, running)
            alone = len(self._tasks) == 1
            if alone or opens_at is not None or task.name in at_work or task.wanted(connection):
                hints.append(self._next_selection_s(connection, task, opens_at, now))
        after_s = min(hints, default=self._settings.pace.longest_s)
        self.on_come_back(after_s, now)
        return ComeBack(after_s=after_s, reason=reason, current=self._current(connection, device))

    def _next_selection_s(self, connection: Connection, task: RoundTask, opens_at: float | None, now: float) -> float:
        newest = round_store.newest_rounds(connection, task.name, 5)
        return pace_steering.come_back_after_s(
            now,
            next((row for row in reversed(newest) if row.running), None),
            [row for row in newest if not row.running],
            task.pause_s,
            self._settings.pace,
            self._rng.random,
            self.active_devices(now),
            self._settings.most_selected,
            opens_at,
        )

    def _opens_beside(self, connection: Connection, task: RoundTask, running: Sequence[Round]) -> float | None:
        """When a selection is expected beside the running round that it follows: as soon as that collects."""
        before = next((row for row in running if row.task == task.follows), None)
        if before is None or before.state is RoundState.SELECTING:
            return None
        began = round_store.entered_at(connection, before.id, RoundState.ADVERTISING)
        newest = round_store.newest_rounds(connection, before.task, 5)
        return None if began is None else began + round_store.mean_time_to_collect_s(connection, newest)

    def _current(self, connection: Connection, device: bytes) -> ModelNotice:
        return offered_notice(connection, device, self._settings.releases.rollout_stages[0])
