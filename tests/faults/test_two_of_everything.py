"""Two coordinators on one database, two workers of one cluster: one of each is lost in the middle of a round."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import socket
import threading
from contextlib import suppress

import msgspec
import pytest
import urllib3

from benchmarks.dask_cluster import dask_cluster
from coordinator.rounds.states import RoundState
from coordinator.settings import UnmaskingSettings
from federated_protocol import wire
from federated_protocol.messages import Phase, Refusal, RefusalReason

DEVICES = 8
HALF = 4


class Balancer:
    """A proxy as stands in front of several coordinators: each connection goes to one that lives."""

    def __init__(self, *ports):
        self._ports = itertools.cycle(ports)
        self._tries = len(ports)
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                for _ in range(self._tries):
                    with suppress(OSError):
                        server = socket.create_connection(("127.0.0.1", next(self._ports)))
                        for ends in ((client, server), (server, client)):
                            threading.Thread(target=self._pump, args=ends, daemon=True).start()
                        break
                else:
                    client.close()

    @staticmethod
    def _pump(source, sink):
        with suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def port_of(served):
    return int(served.port_file.read_text())


DIES_AT_WORK = """
import os
from federated_protocol.secure_aggregation import unmasking
unmasking.run_job = lambda job: os._exit(9)
"""


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers with mutual TLS; the first one dies of its first job. Yields settings and workers."""
    (tmp_path / "dies_at_work.py").write_text(DIES_AT_WORK)
    with dask_cluster(tmp_path, ("dies_at_work.py", None)) as running:
        there = running.cluster
        settings = UnmaskingSettings("cluster", 0, there.scheduler, there.authority, there.certificate, there.key)
        yield settings, running.workers


def test_one_coordinator_and_one_worker_are_killed_and_nothing_is_lost(federate, postgresql_url, cluster):
    settings, workers = cluster
    federation = federate(DEVICES, postgresql_url)
    federation.settings = msgspec.structs.replace(federation.settings, unmasking=settings)
    first, second = federation.start("first"), federation.start("second")
    balancer = Balancer(port_of(first), port_of(second))
    federation.switch_on(balancer.url)
    federation.step_until(lambda: federation.stands_in(RoundState.COLLECTING, Phase.MASKED_INPUT, HALF))
    first.kill()
    federation.step_until(federation.everybody_was_in)
    assert workers[0].wait(60) == 9, "it was at work when it died"
    assert workers[1].poll() is None
    assert federation.first_round_held()
    federation.check_books()
    balancer.close()


def test_asked_to_end_it_answers_what_is_under_way_and_the_round_goes_on_elsewhere(federate):
    federation = federate(DEVICES)
    first, second = federation.start("first"), federation.start("second")
    balancer = Balancer(port_of(first), port_of(second))
    federation.switch_on(balancer.url)
    federation.step_until(lambda: federation.stands_in(RoundState.SHARING, Phase.SHARE, HALF))
    under_way = http.client.HTTPConnection("127.0.0.1", port_of(first))
    under_way.putrequest("POST", "/v1/check-in")
    under_way.putheader("Content-Length", "20")
    under_way.endheaders(b"half of it")
    os.killpg(first.group, signal.SIGTERM)
    federation.step_until(lambda: not accepts(port_of(first)))
    under_way.send(b" and then.")
    refusal = under_way.getresponse()
    assert (refusal.status, wire.decode(refusal.read(), Refusal).reason) == (400, RefusalReason.MALFORMED)
    federation.step_until(lambda: not first.alive)
    federation.step_until(federation.everybody_was_in)
    assert federation.first_round_held()
    assert urllib3.request("GET", second.url + "/v1/ready").status == 200
    federation.check_books()
    balancer.close()


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
