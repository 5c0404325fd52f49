"""The database is cut off, restarted, locked or full in the middle of a round: "try again", and no wrong answer."""

from __future__ import annotations

import resource
import sqlite3

import pytest
import urllib3
from sqlalchemy import create_engine

from coordinator.rounds.states import PHASE_OF_STATE, RoundState

DEVICES = 6
HALF = 3


def run_half_way(federation, state):
    coordinator = federation.start()
    federation.switch_on(coordinator.url)
    federation.step_until(lambda: federation.stands_in(state, PHASE_OF_STATE.get(state), HALF))
    return coordinator


def finish_with_the_exact_sum(federation):
    federation.step_until(federation.everybody_was_in)
    assert federation.first_round_held()
    federation.check_books()


@pytest.mark.parametrize("state", [RoundState.SELECTING, *PHASE_OF_STATE], ids=lambda state: state.value)
def test_connections_that_are_cut_cost_nothing_but_a_repeated_request(federate, postgresql_url, state):
    federation = federate(DEVICES, postgresql_url)
    run_half_way(federation, state)
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
        assert connection.exec_driver_sql(cut + " AND pid <> pg_backend_pid()").scalar()
    engine.dispose()
    federation.forget_database()
    finish_with_the_exact_sum(federation)


def test_a_database_server_that_crashes_and_comes_back_loses_nothing(federate, postgresql_server, postgresql_url):
    federation = federate(DEVICES, postgresql_url)
    run_half_way(federation, RoundState.COLLECTING)
    postgresql_server.restart()
    federation.forget_database()
    finish_with_the_exact_sum(federation)


def test_a_database_that_another_program_locks_for_a_while_is_waited_for(federate, tmp_path):
    federation = federate(DEVICES)
    run_half_way(federation, RoundState.SHARING)
    other = sqlite3.connect(tmp_path / "coordinator.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    device = federation.devices[0]
    federation.step_in_thread(device, lambda: other.execute("COMMIT"))
    other.close()
    finish_with_the_exact_sum(federation)


@pytest.mark.parametrize("state", [RoundState.SELECTING, RoundState.COLLECTING])
def test_a_full_disk_stops_the_round_and_room_on_it_lets_it_go_on(federate, state):
    federation = federate(DEVICES)
    coordinator = run_half_way(federation, state)
    # As a full disk: no file of these processes can grow any more.
    unlimited = resource.RLIM_INFINITY
    for process in coordinator.workers():
        resource.prlimit(process, resource.RLIMIT_FSIZE, (4096, unlimited))
    federation.step_until(lambda: b'status="503"' in urllib3.request("GET", coordinator.url + "/metrics").data)
    assert federation.published() == 0
    for process in coordinator.workers():
        resource.prlimit(process, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    finish_with_the_exact_sum(federation)
