"""`bunker` as processes of their own that start at once: forked from one that has imported it all.

A test that looks at a line of output or an exit code, or wants a relay, gets a real process with
its own arguments, environment, standard streams and exit code; what it is spared is half a second
of imports. The start of the real program has tests of its own, and so has the memory that it takes.
"""

import array
import asyncio
import atexit
import functools
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

TIMEOUT = 60  # seconds; what is slow here waits for something that does not come
TESTS = Path(__file__).parents[1]  # where its modules are imported from


def run(
    arguments: Sequence[str],
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    module: str = "bunker.cli:main",
) -> subprocess.CompletedProcess[bytes]:
    """Run `module`'s command with `arguments` to its end, in a session of its own."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(stdin)
        given.seek(0)
        with Forked(arguments, environment, module, given, out, err) as process:
            try:
                code = process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read(), err.read())


async def printed(*arguments: str) -> str:
    """Run `bunker` to its end, which has to be a good one; return what it printed."""
    done = await asyncio.to_thread(run, arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


class Forked:
    """A command that runs, to be used as a `subprocess.Popen` is. The streams stay the caller's."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None,
        module: str,
        *streams: IO[Any],
    ) -> None:
        request = {
            "arguments": list(arguments),
            "environment": dict(os.environ if environment is None else environment),
            "folder": str(Path.cwd()),
            "module": module,
        }
        body = json.dumps(request).encode()
        assert len(streams) == 3
        handles = array.array("i", [stream.fileno() for stream in streams])
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(TIMEOUT)
        self._connection.connect(_server())
        self._connection.sendmsg(
            [len(body).to_bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)]
        )
        self._connection.sendall(body)
        self.pid = int.from_bytes(_exactly(self._connection, 4))

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative after a signal; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int.from_bytes(_exactly(self._connection, 4), signed=True)
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0) from error
        return self.returncode

    async def ended(self) -> int:
        """Return the exit code once it is over, to the one task that waits for it so."""
        with self._connection as connection:
            connection.setblocking(False)
            code = await asyncio.get_running_loop().sock_recv(connection, 4)
        assert len(code) == 4, "the process of the commands ended"
        self.returncode = int.from_bytes(code, signed=True)
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._connection.close()


Process = subprocess.Popen[str] | Forked


@contextmanager
def started(
    arguments: Sequence[str],
    errors: IO[str],
    environment: Mapping[str, str] | None = None,
    module: str = "bunker.cli:main",
    *,
    fork: bool = True,
) -> Iterator[tuple[Process, IO[str]]]:
    """Start a command; yield it and its standard output. It is killed when the block ends.

    Not forked it imports everything anew, as where the kernel has no pidfd (Linux 5.3).
    """
    if not fork or not hasattr(os, "pidfd_open"):
        place, _, name = module.partition(":")
        path = f"import sys; sys.path.insert(0, {str(TESTS)!r})"
        program = f"{path}; from {place} import {name}; {name}(prog_name='bunker')"
        with subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as process:
            assert process.stdout is not None
            try:
                yield process, process.stdout
            finally:
                process.kill()
        return
    reading, writing = os.pipe()
    with os.fdopen(reading) as output:
        with os.fdopen(writing, "w") as given, Path(os.devnull).open() as nothing:
            forked = Forked(arguments, environment, module, nothing, given, errors)
        with forked:
            try:
                yield forked, output
            finally:
                forked.kill()


@functools.cache
def _server() -> str:
    """Start the process that the commands are forked from; return its address."""
    folder = tempfile.mkdtemp(prefix="commands-")
    address = f"{folder}/socket"
    program = [sys.executable, "-m", "support.commands", address]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, cwd=TESTS)
    atexit.register(process.wait)
    atexit.register(process.kill)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return address


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        assert piece, "the process of the commands ended"
        found += piece
    return found


def _serve(address: str) -> None:
    _load()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(address)
    server.listen(64)
    print("ready", flush=True)
    selector = selectors.DefaultSelector()
    selector.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is server:
                connection, _ = server.accept()
                pid = _start(connection)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                continue
            pid, connection = key.data
            selector.unregister(key.fileobj)
            os.close(key.fd)
            _, status = os.waitpid(pid, 0)
            with connection:
                connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))


def _start(connection: socket.socket) -> int:
    size, handles, _, _ = socket.recv_fds(connection, 4, 3)
    request = json.loads(_exactly(connection, int.from_bytes(size)))
    pid = os.fork()
    if pid == 0:
        _become(request, handles)
    for handle in handles:
        os.close(handle)
    connection.sendall(pid.to_bytes(4))
    return pid


def _become(request: dict[str, Any], handles: list[int]) -> None:
    os.setsid()
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
    os.closerange(3, 256)
    # Anew: the first ones keep what they learned about files that are others now.
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["bunker", *request["arguments"]]
    code: Any = 1
    try:
        module, _, name = request["module"].partition(":")
        getattr(importlib.import_module(module), name)(prog_name="bunker")
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:  # noqa: BLE001 -- shown as Python shows what nobody caught
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code or 0)


def _load() -> None:
    """Import what the commands import when they run, too."""
    import click

    from bunker.cli import main

    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if isinstance(command, click.Group):
            command.list_commands(click.Context(command))
    for name in (
        "bunker_client.remote_signer",
        "bunker_client.doctor",
        "bunker_core.pool",
        "bunker_relay.http.server",
        "bunker_relay.nodes.nats_bus",
        "bunker_relay.store.database.postgres",
        "bunker_relay.store.store",
        "sqlalchemy.dialects.sqlite",
        "uvicorn.lifespan.off",
        "uvicorn.loops.uvloop",
        "uvicorn.protocols.http.h11_impl",
        "bunker_signer.approvers.desktop",
        "bunker_signer.approvers.terminal",
        "bunker_signer.console.app",
        "bunker_signer.console.auth.passkeys",
        "bunker_signer.control.commands",
        "bunker_signer.control.server",
        "bunker_signer.key.announce",
        "bunker_signer.nse.wrap.master_key",
        "bunker_signer.nse.wrap.passphrase",
        "bunker_signer.process.descriptors",
        "bunker_signer.process.logs",
        "bunker_signer.service.service",
    ):
        importlib.import_module(name)


if __name__ == "__main__":
    _serve(sys.argv[1])
