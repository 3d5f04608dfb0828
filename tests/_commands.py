"""`bunker` as processes of their own that start at once: forked from one that has imported it all.

A test that looks at a line of output or an exit code gets a real process with its own arguments,
environment, standard streams and exit code; what it is spared is half a second of imports. The
start of the real program has tests of its own.
"""

import array
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIMEOUT = 60  # seconds; what is slow here waits for something that does not come
_MAX_REQUEST = 1024 * 1024


def run(
    arguments: Sequence[str],
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    module: str = "bunker.cli:main",
) -> subprocess.CompletedProcess[bytes]:
    """Run `module`'s command with `arguments` to its end, in a session of its own."""
    request = {
        "arguments": list(arguments),
        "environment": dict(os.environ if environment is None else environment),
        "folder": str(Path.cwd()),
        "module": module,
    }
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
    ):
        given.write(stdin)
        given.seek(0)
        connection.settimeout(TIMEOUT)
        connection.connect(_server())
        handles = array.array("i", [given.fileno(), out.fileno(), err.fileno()])
        body = json.dumps(request).encode()
        connection.sendmsg(
            [len(body).to_bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)]
        )
        connection.sendall(body)
        pid = int.from_bytes(_exactly(connection, 4))
        try:
            code = int.from_bytes(_exactly(connection, 4), signed=True)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read(), err.read())


@functools.cache
def _server() -> str:
    """Start the process that the commands are forked from; return its address."""
    folder = tempfile.mkdtemp(prefix="commands-")
    address = f"{folder}/socket"
    process = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE)
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
        "bunker_relay.config",
        "bunker_relay.store.store",
        "bunker_signer.nse.wrap.master_key",
        "bunker_signer.nse.wrap.passphrase",
        "bunker_signer.process.logs",
        "bunker_signer.service.service",
    ):
        importlib.import_module(name)


if __name__ == "__main__":
    _serve(sys.argv[1])
