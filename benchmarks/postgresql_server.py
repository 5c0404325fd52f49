"""A throw-away PostgreSQL from the distribution's package, for tests and measurements."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks._loopback import lasting_port


class PostgresUnavailableError(Exception):
    """There is no PostgreSQL to start here; the message says what is missing."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server; its data go when it stops."""

    url: str
    _binaries: Path
    _data: Path
    _user: int | None

    @classmethod
    def start(cls, folder: Path) -> PostgresServer:
        """Begin a cluster under ``folder`` and start it on a free loopback port.

        Raises
        ------
        PostgresUnavailableError
            without the package, or as root without a ``postgres`` user (the server refuses to run as root).
        """
        binaries = _binaries()
        user = None
        if os.geteuid() == 0:
            try:
                entry = pwd.getpwnam("postgres")
            except KeyError:
                raise PostgresUnavailableError(
                    "PostgreSQL does not run as root and there is no user postgres"
                ) from None
            user = entry.pw_uid
            folder = Path(tempfile.mkdtemp(prefix="pg-"))  # the caller's folder is closed to other users
            os.chown(folder, user, entry.pw_gid)
        data = folder / "data"
        port = lasting_port()
        server = cls(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", binaries, data, user)
        server._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c max_connections=200"
        server._run("pg_ctl", "-D", str(data), "-w", "-t", "110", "-l", str(folder / "log"), "-o", options, "start")
        return server

    def stop(self) -> None:
        """Stop at once and delete the data."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")
        shutil.rmtree(self._data.parent, ignore_errors=True)

    def restart(self) -> None:
        """Stop as a crash would, and start again on the same port and data."""
        self._run(
            "pg_ctl",
            "-D",
            str(self._data),
            "-m",
            "immediate",
            "-w",
            "-t",
            "110",
            "-l",
            str(self._data.parent / "log"),
            "restart",
        )

    def _run(self, program: str, *arguments: str) -> None:
        try:
            subprocess.run(
                [str(self._binaries / program), *arguments],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                cwd=self._data.parent,
                user=self._user,
                timeout=120,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise PostgresUnavailableError(f"{program} failed ({type(error).__name__})") from None


def _binaries() -> Path:
    found = shutil.which("pg_ctl")
    if found is not None and (Path(found).parent / "initdb").exists():
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise PostgresUnavailableError("PostgreSQL is not installed: apt-get install postgresql")
    return versions[-1].parent
