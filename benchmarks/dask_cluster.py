"""A throw-away Dask cluster on loopback with mutual TLS, for tests and measurements."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coordinator.aggregation.cluster import Cluster

_ROOT = Path(__file__).parent.parent
START_S = 120.0
"""Longest wait for the scheduler to listen, and for its workers."""


@dataclass(frozen=True)
class DaskCluster:
    """A running one."""

    cluster: Cluster
    """How to reach it."""
    workers: list[subprocess.Popen[bytes]]
    """One thread each."""


@contextmanager
def dask_cluster(folder: Path, preloads: Sequence[str | None] = (None, None)) -> Iterator[DaskCluster]:
    """A scheduler that listens, and workers; they end with the context.

    Args:
        folder: for certificates, logs and what workers spill.
        preloads: a worker for each; a file in ``folder`` that it runs at its start, or None.
    """
    write_certificates(folder)
    names = {name: str(folder / name) for name in ("authority.pem", "node.pem", "node.key")}
    authority, certificate, key = names.values()
    tls = ["--tls-ca-file", authority, "--tls-cert", certificate, "--tls-key", key]
    where = folder / "scheduler.json"
    with ExitStack() as stack:
        log = stack.enter_context((folder / "cluster.log").open("wb"))

        def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *tls]
            path = {**os.environ, "PYTHONPATH": str(_ROOT)}
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=path)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        where_it_is = ("--scheduler-file", str(where))
        scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *where_it_is)
        common = (*where_it_is, "--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(folder))
        workers = [
            start("dask_worker", *common, *(("--preload", preload) if preload is not None else ()))
            for preload in preloads
        ]
        cluster = Cluster(_address(scheduler, where), authority, certificate, key)
        _await_workers(cluster, len(workers))
        yield DaskCluster(cluster, workers)


def _address(scheduler: subprocess.Popen[bytes], where: Path) -> str:
    """Of the scheduler, once it listens. Importing takes seconds on a busy machine."""
    until = time.monotonic() + START_S
    while scheduler.poll() is None and time.monotonic() < until:
        with suppress(OSError, ValueError):  # not there, or half of it
            return str(json.loads(where.read_text())["address"])
        time.sleep(0.05)
    raise RuntimeError("the scheduler did not start: cluster.log says why")


def _await_workers(cluster: Cluster, count: int) -> None:
    """Return when every worker is known: jobs given out earlier would all be the first one's."""
    from distributed import Client
    from distributed.security import Security

    security = Security(tls_ca_file=cluster.authority, tls_client_cert=cluster.certificate, tls_client_key=cluster.key)
    with Client(cluster.scheduler, security=security, timeout=START_S, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=START_S)


def write_certificates(folder: Path) -> None:
    """``authority.pem``; ``node.pem`` and ``node.key``, signed by it; and a ``stranger`` that it did not sign."""
    now = datetime.datetime.now(datetime.UTC)

    def make(
        name: str, issuer: x509.Name | None = None, signer: ec.EllipticCurvePrivateKey | None = None
    ) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
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
