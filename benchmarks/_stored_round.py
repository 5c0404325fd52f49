"""A round as a coordinator has stored it, without its web server: the coordinator's own code opens it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from coordinator.rounds.closing import COUNT_COLUMN
from coordinator.rounds.planning import encode_plan
from coordinator.rounds.states import RoundState
from coordinator.storage import Database, message_store, participant_store, round_store
from coordinator.storage.round_store import Round
from federated_protocol.messages import Phase, SignedMessage
from federated_protocol.plan import Plan
from federated_protocol.secure_aggregation import RunContext

NOW = 1000.0


class StoredRound:
    """Writes a round phase by phase.

    Parameters
    ----------
    folder
        Where its SQLite file is made.
    plan
        Of the round.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.database = Database(f"sqlite:///{folder / 'coordinator.sqlite'}")
        self._plan = plan
        with self.database.writing() as connection:
            round_store.open_round(
                connection,
                task=plan.task,
                number=plan.round,
                attempt=plan.attempt,
                session=plan.session,
                base_version=plan.model_version,
                quorum=1,
                now=NOW,
                deadline=NOW,
            )
            row = round_store.round_by_session(connection, plan.session)
            assert row is not None
            self._id = row.id
            round_store.change_round(connection, self._id, plan=encode_plan(plan))

    def join(self, members: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Members of U1: (fingerprint, identity key, certificate)."""
        with self.database.writing() as connection:
            for device, public_key, certificate in members:
                participant_store.join(connection, self._id, device, public_key, certificate, NOW)

    def put(self, phase: Phase, said: Iterable[SignedMessage]) -> None:
        """Store messages of a phase."""
        with self.database.writing() as connection:
            for signed in said:
                message_store.add_message(
                    connection,
                    round_id=self._id,
                    phase=phase,
                    device=signed.device,
                    digest=bytes(32),
                    payload=signed.payload,
                    signature=signed.signature,
                    answer=b"",
                    size_bytes=len(signed.payload),
                    now=NOW,
                )

    def fix(self, context: RunContext, positions: Mapping[bytes, int]) -> None:
        """The end of advertising: U1, its graph and root."""
        parameters = context.parameters
        with self.database.writing() as connection:
            participant_store.set_positions(connection, self._id, dict(positions))
            round_store.change_round(
                connection,
                self._id,
                root=context.root,
                advertised=parameters.n,
                neighbours=parameters.neighbours,
                threshold=parameters.threshold,
            )

    def drop(self, devices: Iterable[bytes], phase: Phase) -> None:
        """These missed ``phase``."""
        with self.database.writing() as connection:
            participant_store.drop(connection, self._id, list(devices), phase)

    def unmasking(self) -> Round:
        """The row as it stands when the sum is to be opened."""
        with self.database.writing() as connection:
            counts = {
                column: message_store.count_messages(connection, self._id, phase)
                for phase, column in COUNT_COLUMN.items()
            }
            round_store.change_round(connection, self._id, state=RoundState.UNMASKING.value, **counts)
            row = round_store.round_by_session(connection, self._plan.session)
        assert row is not None
        return row
