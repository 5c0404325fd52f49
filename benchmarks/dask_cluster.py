"""A throw-away Dask cluster on loopback with mutual TLS, for tests and measurements."""

from __future__ import annotations

import datetime
import os
import socket
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
"""Longest wait for the scheduler to listen."""


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
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"tls://127.0.0.1:{port}"
    with ExitStack() as stack:
        log = stack.enter_context((folder / "cluster.log").open("wb"))

        def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *tls]
            path = {**os.environ, "PYTHONPATH": str(_ROOT)}
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=path)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        common = (address, "--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(folder))
        workers = [
            start("dask_worker", *common, *(("--preload", preload) if preload is not None else ()))
            for preload in preloads
        ]
        _wait_until_it_listens(scheduler, port)
        yield DaskCluster(Cluster(address, authority, certificate, key), workers)


def _wait_until_it_listens(scheduler: subprocess.Popen[bytes], port: int) -> None:
    """Importing takes seconds on a busy machine, longer than those who connect are ready to wait."""
    until = time.monotonic() + START_S
    while scheduler.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        time.sleep(0.05)
    raise RuntimeError("the scheduler did not start: cluster.log says why")


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
