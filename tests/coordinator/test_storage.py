"""What every store must do, whatever database is behind it."""

from __future__ import annotations

import re
import sqlite3
import threading
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select

from coordinator.errors import ReleaseError, StorageError
from coordinator.releases import ModelStore, artifact_bytes, artifact_digest
from coordinator.releases.model_store import add_model
from coordinator.releases.rollout import roll_back
from coordinator.rounds.states import RoundEvent, RoundState
from coordinator.storage import Database, message_store, participant_store, round_store, tables
from coordinator.storage.message_store import EVERYBODY
from coordinator.storage.participant_store import Standing
from coordinator.storage.tables import metadata, rounds
from federated_protocol.messages import AbandonReason, Phase

DEVICE = b"d" * 16


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """A new, empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def database(url):
    opened = Database(url)
    yield opened
    opened.close()


def open_round(connection, session="s1", **changes):
    values = {"task": "t", "number": 1, "attempt": 1, "session": session, "base_version": 0, "quorum": 2, "now": 1.0}
    return round_store.open_round(connection, **(values | {"deadline": 9.0} | changes))


@pytest.fixture
def row(database):
    with database.writing() as connection:
        assert open_round(connection)
        return round_store.running_round(connection, "t")


def test_one_selection_a_task_is_open_at_a_time_beside_the_round_under_way(database, row):
    with database.writing() as connection:
        assert not open_round(connection, session="s2", number=2)
        assert open_round(connection, session="s3", task="other")
        round_store.move(connection, row, RoundEvent.QUORUM, 2.0)
        assert not open_round(connection, session="s4")  # this attempt of this round is there already
        assert open_round(connection, session="s5", number=2)
        assert [found.session for found in round_store.running_rounds(connection, "t")] == ["s1", "s5"]


def test_cohorts_that_are_split_off_take_their_devices_with_them(database, row):
    with database.writing() as connection:
        for number in range(6):
            participant_store.join(connection, row.id, bytes([number]) * 16, b"k" * 32, b"c", 1.0)
        round_store.move(connection, row, RoundEvent.QUORUM, 2.0, still_in=4, cohorts=2)
        split = round_store.split_off(connection, row, 2, 2, "s2", [bytes([4]) * 16, bytes([5]) * 16], 2.0)
        assert (split.number, split.attempt, split.cohort, split.still_in) == (1, 1, 2, 2)
        found = round_store.cohorts_of(connection, row)
        members = [participant_store.all_participants(connection, cohort.id) for cohort in found]
        assert [(cohort.session, len(dealt)) for cohort, dealt in zip(found, members, strict=True)] == [
            ("s1", 4),
            ("s2", 2),
        ]
        assert round_store.cohort_of(connection, row, bytes([5]) * 16).session == "s2"
        assert participant_store.takes_part(connection, found, bytes([5]) * 16)
        assert not participant_store.takes_part(connection, found[:1], bytes([5]) * 16)
        assert [entry.to_state for entry in round_store.history_of(connection, split.id)] == ["selecting"]


def test_a_transition_happens_once_however_many_try(database, row):
    with database.writing() as connection:
        assert round_store.move(connection, row, RoundEvent.QUORUM, 2.0)
        assert not round_store.move(connection, row, RoundEvent.SHORT, 2.0, reason=AbandonReason.OPERATOR)
        assert round_store.running_round(connection, "t").state is RoundState.ADVERTISING


def test_the_history_says_who_moved_a_round(database, row):
    with database.writing() as connection:
        round_store.move(connection, row, RoundEvent.QUORUM, 2.0)
        row = round_store.running_round(connection, "t")
        round_store.move(connection, row, RoundEvent.STOPPED, 3.0, reason=AbandonReason.OPERATOR, actor="ada")
        actors = [entry.actor for entry in round_store.history_of(connection, row.id)]
    assert actors == [round_store.this_process(), round_store.this_process(), "ada"]


def test_an_ended_round_makes_room_for_the_next(database, row):
    with database.writing() as connection:
        round_store.move(connection, row, RoundEvent.STOPPED, 2.0, reason=AbandonReason.OPERATOR)
        assert round_store.running_round(connection, "t") is None
        assert open_round(connection, session="s2", number=2)


def test_a_device_joins_once(database, row):
    with database.writing() as connection:
        assert participant_store.join(connection, row.id, DEVICE, b"k" * 32, b"c", 1.0)
        assert not participant_store.join(connection, row.id, DEVICE, b"k" * 32, b"c", 1.0)
        assert round_store.running_round(connection, "t").still_in == 1


def test_a_message_is_stored_once_by_session_phase_and_device(database, row):
    message = {"round_id": row.id, "device": DEVICE, "digest": b"1" * 32, "payload": b"p", "answer": b"a"}
    message["signature"] = b"s"
    with database.writing() as connection:
        for phase in Phase:
            assert message_store.add_message(connection, phase=phase, size_bytes=1, now=1.0, **message)
            assert not message_store.add_message(connection, phase=phase, size_bytes=1, now=1.0, **message)
        assert message_store.count_messages(connection, row.id, Phase.SHARE) == 1
        assert list(message_store.payloads(connection, row.id, Phase.SHARE)) == [(DEVICE, b"p")]


def test_a_standing_is_the_round_the_device_and_what_it_said(database, row):
    other = b"e" * 16
    with database.writing() as connection:
        assert participant_store.standing(connection, "nowhere", Phase.SHARE, DEVICE) is None
        stranger = participant_store.standing(connection, row.session, Phase.SHARE, DEVICE)
        assert (stranger.public_key, stranger.digest, stranger.answers) == (None, None, 0)
        for device in (DEVICE, other):
            participant_store.join(connection, row.id, device, b"k" * 32, b"c", 1.0)
        round_store.change_round(connection, row.id, protocol_version=2)
        participant_store.drop(connection, row.id, [other], Phase.SHARE)
        message = {"digest": b"1" * 32, "payload": b"p", "signature": b"s", "answer": b"a", "size_bytes": 1, "now": 1.0}
        message_store.add_message(connection, round_id=row.id, phase=Phase.SHARE, device=DEVICE, **message)
        mine = participant_store.standing(connection, row.session, Phase.SHARE, DEVICE, hold=True)
        theirs = participant_store.standing(connection, row.session, Phase.SHARE, other)
        before = participant_store.standing(connection, row.session, Phase.ADVERTISE, DEVICE)
    assert mine == Standing(
        device=DEVICE,
        state=RoundState.SELECTING,
        reason=None,
        dropped_in=None,
        round_id=row.id,
        session=row.session,
        cohorts=row.cohorts,
        state_since=row.state_since,
        deadline=row.deadline,
        still_in=2,
        inputs=None,
        purged=False,
        has_plan=False,
        protocol_version=2,
        public_key=b"k" * 32,
        digest=b"1" * 32,
        answer=b"a",
        answers=1,
    )
    assert (theirs.digest, theirs.answers, theirs.dropped_in) == (None, 1, Phase.SHARE)
    assert theirs.answered(Phase.ADVERTISE)
    assert not theirs.answered(Phase.SHARE)
    assert (before.digest, before.answers) == (None, 0)


def test_a_result_of_ones_own_goes_before_the_common_one(database, row):
    with database.writing() as connection:
        message_store.put_results(connection, row.id, Phase.SHARE, {EVERYBODY: b"all", DEVICE: b"mine"})
        assert message_store.result(connection, row.id, Phase.SHARE, DEVICE) == b"mine"
        assert message_store.result(connection, row.id, Phase.SHARE, b"e" * 16) == b"all"
        assert message_store.result(connection, row.id, Phase.UNMASK, DEVICE) is None


def test_a_lease_keeps_others_away_until_it_ends(database, row):
    with database.writing() as connection:
        assert round_store.take_lease(connection, row, "a", now=1.0, lease_s=10)
        assert not round_store.take_lease(connection, row, "b", now=5.0, lease_s=10)
        assert round_store.take_lease(connection, row, "a", now=5.0, lease_s=10)
        assert round_store.take_lease(connection, row, "b", now=16.0, lease_s=10)


def test_a_failed_transaction_leaves_nothing_behind(database):
    def fail_halfway():
        with database.writing() as connection:
            open_round(connection)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    with database.reading() as connection:
        assert round_store.running_round(connection, "t") is None


def test_many_threads_read_then_write_without_a_locked_database(database, row):
    failures = []

    def join(number):
        try:
            for i in range(10):
                with database.writing() as connection:
                    round_store.running_round(connection, "t")
                    participant_store.join(connection, row.id, bytes([number, i]) * 8, b"k" * 32, b"c", 1.0)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=join, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with database.reading() as connection:
        assert round_store.running_round(connection, "t").still_in == 120


# -- models ------------------------------------------------------------------------------------------------------


def test_version_0_is_stored_once_and_belongs_to_its_bundle(database, initial_model):
    store = ModelStore(database)
    store.ensure_initial(initial_model, 1.0)
    store.ensure_initial(initial_model, 2.0)
    assert store.current().digest == artifact_digest(artifact_bytes(initial_model))
    assert store.artifact(0) == artifact_bytes(initial_model)
    other = msgspec.structs.replace(initial_model, bundle_digest="c" * 64)
    with pytest.raises(ReleaseError, match="another model bundle"):
        store.ensure_initial(other, 3.0)


def test_neither_a_version_nor_a_round_is_published_twice(database, initial_model, row):
    ModelStore(database).ensure_initial(initial_model, 1.0)
    first = msgspec.structs.replace(initial_model, version=1, threshold=1.0)
    second = msgspec.structs.replace(initial_model, version=2, threshold=2.0)
    with database.writing() as connection:
        assert add_model(connection, first, optimizer_state=None, round_id=row.id, now=2.0)
        assert not add_model(connection, first, optimizer_state=None, round_id=None, now=2.0)
        assert not add_model(connection, second, optimizer_state=None, round_id=row.id, now=2.0)
    assert [model.version for model in ModelStore(database).all()] == [0, 1]


# -- schema versions -----------------------------------------------------------------------------------------------


def begin_as_version_1(url):
    """A database as the first program version made it, with a round in it."""
    engine = create_engine(url)
    newer = {"rollouts", "release_metadata", "audit_log", "accounts", "account_sessions", "check_in_hours"}
    newer |= {"privacy_charges", "come_back_hours", "phase_times"}
    columns = [("rounds", "neighbours"), ("rounds", "root"), ("rounds", "confirmed"), ("rounds", "protocol_version")]
    columns += [("participants", "certificate"), ("messages", "signature"), ("history", "actor")]
    columns += [("rounds", "cohort"), ("rounds", "cohorts")]
    with engine.begin() as connection:
        metadata.create_all(connection, [t for t in metadata.sorted_tables if t.name not in newer])
        connection.execute(tables.meta.insert().values(name="schema_version", value="1"))
        open_round(connection)
        for index in ("one_row_a_cohort", "one_selection_a_task", "running_rounds"):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        connection.exec_driver_sql(
            "CREATE UNIQUE INDEX one_running_round_a_task ON rounds (task) WHERE ended_at IS NULL"
        )
        for table, column in columns:
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    engine.dispose()


def test_a_database_of_the_first_version_is_upgraded_with_all_it_holds(url):
    begin_as_version_1(url)
    database = Database(url)
    with database.writing() as connection:
        assert round_store.running_round(connection, "t").session == "s1"
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
        assert [d for d in differences if "alembic_version" not in str(d)] == []
        assert connection.scalar(select(tables.meta.c.value)) == str(tables.SCHEMA_VERSION)
    database.close()


def test_many_processes_may_begin_or_upgrade_a_database_at_once(url):
    begin_as_version_1(url)
    failures = []

    def start():
        try:
            Database(url).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# -- files that are no database ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"hello, this is a text file, not a database" * 100, b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_file_that_is_no_database_is_refused_with_advice_and_left_alone(tmp_path, content):
    path = tmp_path / "broken.sqlite"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"move it .* aside"):
        Database(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_damaged_database_is_refused_with_advice(tmp_path):
    path = tmp_path / "damaged.sqlite"
    Database(f"sqlite:///{path}").close()
    data = bytearray(path.read_bytes())
    data[4096:20_000] = b"\xff" * (20_000 - 4096)
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"move it .* aside"):
        Database(f"sqlite:///{path}")


def test_another_schema_version_is_refused(tmp_path):
    path = tmp_path / "newer.sqlite"
    Database(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    connection.close()
    with pytest.raises(StorageError, match="schema version 99"):
        Database(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["sqlite://", "nonsense", "sqlite:////no/such/folder/x.sqlite", "oracle+none://x"])
def test_addresses_that_cannot_work_are_explained(url):
    with pytest.raises(StorageError):
        Database(url)


def test_the_schema_compiles_for_postgresql():
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateIndex, CreateTable

    for table in metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=postgresql.dialect()))
    (one_selection,) = [index for index in rounds.indexes if index.name == "one_selection_a_task"]
    assert "WHERE state = 'selecting'" in str(CreateIndex(one_selection).compile(dialect=postgresql.dialect()))


def test_a_whole_round_with_its_release_and_a_rollback_runs_on_postgresql(deploy, settings, postgresql_url):
    deployment = deploy(database_url=postgresql_url)
    deployment.run_round(deployment.select(6), {Phase.MASKED_INPUT: 1})
    deployment.tick()
    assert deployment.state() == "published"
    with deployment.coordinator.database.writing() as connection:
        assert roll_back(connection, 1, now=deployment.clock.now, actor="test", reason="test") == 2
    assert deployment.device().check_in(wants_round=False).current.version == 2
    deployment.coordinator.population.flush(deployment.clock.now)
    deployment.restart()
    assert deployment.coordinator.models.current().version == 2


def test_the_data_model_page_names_every_table():
    page = (Path(__file__).parents[2] / "docs" / "data-model.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {table.name for table in metadata.sorted_tables}
