"""Two coordinators on one database, two workers of one cluster: one of each is lost in the middle of a round."""

from __future__ import annotations

import datetime
import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress

import msgspec
import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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


def write_certificates(folder):
    """An authority, and one certificate it signed, which coordinator and cluster share here."""
    now = datetime.datetime.now(datetime.UTC)

    def make(name, issuer=None, signer=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .sign(signer or key, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return subject, key

    subject, key = make("authority")
    make("node", subject, key)
    make("stranger")
    return folder


DIES_AT_WORK = """
import os
from federated_protocol.secure_aggregation import unmasking
unmasking.run_job = lambda job: os._exit(9)
"""


@pytest.fixture
def cluster(tmp_path, nursery):
    """A scheduler and two workers with mutual TLS; the first one dies of its first job. Yields settings and workers."""
    files = write_certificates(tmp_path)
    (tmp_path / "dies_at_work.py").write_text(DIES_AT_WORK)
    tls = ["--tls-ca-file", files / "authority.pem", "--tls-cert", files / "node.pem", "--tls-key", files / "node.key"]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"tls://127.0.0.1:{probe.getsockname()[1]}"
    log = (tmp_path / "cluster.log").open("wb")
    with ExitStack() as stack:

        def start(module, *arguments):
            command = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, (*arguments, *tls))]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=environment)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        environment = {**os.environ, "PYTHONPATH": root}
        start("dask_scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard")
        common = (address, "--no-nanny", "--no-dashboard", "--nthreads", 1, "--local-directory", tmp_path)
        workers = [start("dask_worker", *common, "--preload", "dies_at_work.py"), start("dask_worker", *common)]
        yield (
            UnmaskingSettings(
                "cluster", 0, address, *(str(files / name) for name in ("authority.pem", "node.pem", "node.key"))
            ),
            workers,
        )


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
    assert workers[0].wait(10) == 9, "it was at work when it died"
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
