"""A PostgreSQL server of our own, from whatever PostgreSQL is installed."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from support.require import need


class PostgresServer:
    """A running server; `url` is of its one database, whose socket lies in `folder`."""

    def __init__(self, programs: str, folder: str, user: dict[str, Any]) -> None:
        self.url = f"postgresql://bunker@/postgres?host={folder}"
        self._programs = programs
        self._folder = folder
        self._user = user
        data = f"{folder}/data"
        self._names = itertools.count()
        self._run("initdb", "-D", data, "-U", "bunker", "--auth=trust", "--no-sync")

    def fresh_url(self) -> str:
        """Return the URL of a schema that nobody has used: much sooner made than a database."""
        name = f"test_{next(self._names)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}&options=-csearch_path%3D{name}"

    def start(self) -> None:
        """Start it, and return when it can be used."""
        options = f"-c listen_addresses='' -k {self._folder} -c fsync=off -c max_connections=60"
        self._run("pg_ctl", *self._data, "-o", options, "-l", f"{self._folder}/log", "-w", "start")

    def stop(self) -> None:
        """Stop it as if it had crashed."""
        self._run("pg_ctl", *self._data, "-m", "immediate", "-w", "stop")

    @property
    def _data(self) -> tuple[str, str]:
        return "-D", f"{self._folder}/data"

    def _run(self, program: str, *arguments: str) -> None:
        command = [f"{self._programs}/{program}", *arguments]
        # Not captured: a server that goes on would hold the pipe.
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._user)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a server in a directory of its own; skips where PostgreSQL is not installed."""
    programs = _find()
    need(programs, "PostgreSQL (initdb, pg_ctl)")
    assert programs is not None
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        nobody = next((item for item in pwd.getpwall() if item.pw_name == "nobody"), None)
        need(nobody, "a user nobody, for a server that does not run as root")
        assert nobody is not None
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    # Not below pytest's own directory: that one is closed to other users.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        if user:
            os.chown(folder, user["user"], user["group"])
        server = PostgresServer(programs, folder, user)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _find() -> str | None:
    """Return the directory of PostgreSQL's programs, if it is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    name = shutil.which("initdb") or (str(found[-1]) if found else None)
    return str(Path(name).resolve().parent) if name else None
