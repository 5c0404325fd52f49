"""Functions run on a Dask cluster, by its scheduler's address and with certificates on both sides.

The coordinator expands masks there. Such a job carries shares that were revealed to the coordinator, so a cluster is
trusted as the coordinator itself is: it takes jobs from whoever has a certificate of its authority, and speaks to
nobody without TLS. The sum never depends on it: whoever opens it computes a job itself that comes back as an error or
not in time. Simulations (``benchmarks``) run there, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from coordinator.errors import SettingsError

P = ParamSpec("P")
T = TypeVar("T")

JOBS_AT_ONCE = 32
CONNECT_S = 5.0
JOB_S = 30.0
"""A job of some tens of milliseconds that takes longer than this is lost."""
AWAY_S = 30.0
"""After a failure to connect, for so long nothing is asked of the cluster."""


class ClusterUnreachableError(Exception):
    """There is no scheduler at the address, or it refuses our certificate."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A scheduler, and the files that it and we know each other by."""

    scheduler: str
    """``tls://HOST:PORT``."""
    authority: str
    """File with the certificate that signed those of the cluster and ours."""
    certificate: str
    key: str


class ClusterExecutor(Executor):
    """Runs functions on a Dask cluster; connects with the first one, and again after the connection was lost.

    A future raises when the cluster is away, or does not answer in time; a killed worker's jobs are repeated by another
    one without a word.

    Parameters
    ----------
    cluster
        Where, and with which certificates.
    job_s
        Seconds after which a job counts as lost; None waits for as long as it takes.

    Raises
    ------
    SettingsError
        when the package ``distributed`` is missing or a certificate cannot be read.
    """

    def __init__(self, cluster: Cluster, job_s: float | None = JOB_S) -> None:
        try:
            from distributed.security import Security
        except ImportError:
            raise SettingsError(
                "a cluster needs the package distributed: pip install 'federated-keyboard[cluster]'"
            ) from None
        self._address = cluster.scheduler
        self._job_s = job_s
        self._security: Any = Security(
            tls_ca_file=cluster.authority,
            tls_client_cert=cluster.certificate,
            tls_client_key=cluster.key,
            require_encryption=True,
        )
        try:
            self._security.get_connection_args("client")
        except OSError as error:
            raise SettingsError(f"cluster: a certificate or key file cannot be used ({error.strerror})") from None
        self._threads = ThreadPoolExecutor(JOBS_AT_ONCE, "cluster")
        self._lock = threading.Lock()
        self._client: Any = None
        self._away_until = 0.0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See :meth:`concurrent.futures.Executor.submit`; ``fn`` must be importable on the workers."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def submit_to(self, place: int, fn: Callable[..., T], /, *args: Any) -> Future[T]:
        """As :meth:`submit`, with a wish: equal places meet the same worker, as long as it is there."""
        return self._threads.submit(self._run, fn, args, {}, place)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See :meth:`concurrent.futures.Executor.shutdown`."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        with self._lock:
            if self._client is not None:
                self._client.close(timeout=CONNECT_S)
                self._client = None

    def _run(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], place: int | None = None) -> T:
        client, where = self._connected(), {}
        if place is not None and (workers := sorted(client.nthreads())):
            where = {"workers": [workers[place % len(workers)]], "allow_other_workers": True}
        # Not pure: Dask would give equal arguments the result of before.
        future = client.submit(fn, *args, **kwargs, **where, pure=False)
        try:
            result: T = future.result(timeout=self._job_s)
        finally:
            future.release()
        return result

    def _connected(self) -> Any:
        from distributed import Client

        with self._lock:
            if self._client is not None and self._client.status in ("running", "connecting"):
                return self._client
            if time.monotonic() < self._away_until:
                raise ClusterUnreachableError
            try:
                self._client = Client(
                    self._address, security=self._security, timeout=CONNECT_S, set_as_default=False, name="coordinator"
                )
            except Exception as error:  # whatever TLS, sockets and timeouts raise
                self._away_until = time.monotonic() + AWAY_S
                raise ClusterUnreachableError from error
            return self._client
