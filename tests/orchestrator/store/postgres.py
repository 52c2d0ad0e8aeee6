"""A real PostgreSQL for the tests, where its binaries are."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError


def binaries() -> Path | None:
    """Folder of `initdb` and `postgres`, the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    elsewhere = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(elsewhere).resolve().parent if elsewhere else None


class Postgres:
    """A server that only its socket in a folder of its own reaches; it dies with this process."""

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self._user = "postgres" if os.getuid() == 0 else getpass.getuser()  # it refuses to run as root
        self._folder = Path(tempfile.mkdtemp(prefix="store-postgres-"))
        if os.getuid() == 0:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._folder / "data"), "-U", "store", "--auth=trust", "--no-sync")
        options = ["-k", str(self._folder), "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "fsync=off"]
        command = [*self._prefix(), str(self._bin / "postgres"), "-D", str(self._folder / "data"), *options]
        with (self._folder / "log").open("w") as log:
            self._server = subprocess.Popen(command, cwd="/", stdout=log, stderr=log)
        self._admin = create_engine(self._url("postgres", "postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        self._wait()

    def create(self, name: str, template: str = "template0") -> str:
        """URL of a new database."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._url(name)

    def drop(self, name: str) -> None:
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def stop(self) -> None:
        self._admin.dispose()
        self._server.send_signal(signal.SIGINT)
        self._server.wait(30)
        shutil.rmtree(self._folder)

    def _url(self, database: str, driver: str = "postgresql") -> str:
        return f"{driver}://store@/{database}?host={self._folder}"

    def _prefix(self) -> list[str]:
        identity = ["--reuid", self._user, "--regid", self._user, "--clear-groups"] if os.getuid() == 0 else []
        return ["setpriv", *identity, "--pdeathsig", "INT"]

    def _run(self, program: str, *args: str) -> None:
        subprocess.run(
            [*self._prefix(), str(self._bin / program), *args], cwd="/", check=True, capture_output=True, timeout=60
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.execute("SELECT 1")
            except OperationalError:
                assert self._server.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.05)
