"""The control socket: for its owner alone, and answered whatever is said."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from bunker_core.errors import BunkerError
from bunker_core.local.sockets import peer_uid, short_path
from bunker_signer.control.protocol import ControlError, NotRunning, send
from bunker_signer.control.server import ControlServer
from bunker_signer.key.keystore import KeyStore
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from signer.nse.scan.scan import scan
from support.require import need

ME = os.geteuid()


async def echo(said: Mapping[str, Any], uid: int, secret: bytearray | None) -> Any:
    if said.get("fail"):
        raise BunkerError("not today")
    if said.get("break"):
        raise ZeroDivisionError("a secret")
    return [dict(said), uid, None if secret is None else len(secret)]


async def call(data: Path, *args: Any, **kwargs: Any) -> Any:
    return await asyncio.to_thread(send, data, *args, **kwargs)


async def test_request_and_reply(tmp_path: Path) -> None:
    """Arguments go in, a result comes out; the kernel says who asked."""
    async with ControlServer(tmp_path, {"echo": echo}, ME):
        assert await call(tmp_path, "echo", x=1) == [{"x": 1}, ME, None]
        assert await call(tmp_path, "echo", bytearray(b"\n pass \0")) == [{}, ME, 8]


async def test_long_path_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that shortens a long path, as on macOS, can be entered by who is not root."""
    modes: list[int] = []

    class Folder(tempfile.TemporaryDirectory[str]):
        def __enter__(self) -> str:
            modes.append(Path(self.name).stat().st_mode & 0o777)
            return super().__enter__()

    monkeypatch.delattr(os, "O_PATH", raising=False)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", Folder)
    data = tmp_path.joinpath(*["a-long-name-of-a-folder"] * 4)
    data.mkdir(parents=True)
    async with ControlServer(data, {"echo": echo}, ME):
        assert (data / "control.sock").stat().st_mode & 0o777 == 0o600
        assert await call(data, "echo") == [{}, ME, None]
    assert modes == [0o700, 0o700]  # for the signer, and for who calls it


async def test_errors(tmp_path: Path) -> None:
    """What goes wrong is a line for a person, without what an exception might repeat."""
    async with ControlServer(tmp_path, {"echo": echo}, ME):
        with pytest.raises(ControlError, match="not today"):
            await call(tmp_path, "echo", fail=True)
        with pytest.raises(ControlError, match="ZeroDivisionError") as raised:
            await call(tmp_path, "echo", **{"break": True})
        assert "secret" not in str(raised.value)
        with pytest.raises(ControlError, match="does not know"):
            await call(tmp_path, "unknown")


async def test_other_users_are_turned_away(tmp_path: Path) -> None:
    """Another uid gets no answer, whatever the socket's mode; the mode is the owner's alone."""
    asked: list[int] = []

    async def note(_said: Mapping[str, Any], uid: int, _secret: bytearray | None) -> Any:
        asked.append(uid)

    async with ControlServer(tmp_path, {"note": note}, owner=4711, peer=lambda _: 4712):
        assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600
        with pytest.raises(ControlError, match="are you its owner"):
            await call(tmp_path, "note")
    assert asked == []


@pytest.mark.skipif(ME != 0, reason="only root can be somebody else for a moment")
async def test_another_user_of_this_machine() -> None:
    """Even where the directory and the socket are open to all, the kernel tells who calls."""
    asked: list[int] = []

    async def note(_said: Mapping[str, Any], uid: int, _secret: bytearray | None) -> Any:
        asked.append(uid)

    with tempfile.TemporaryDirectory() as base:
        data = Path(base)
        data.chmod(0o755)
        async with ControlServer(data, {"note": note}, owner=ME):
            (data / "control.sock").chmod(0o666)
            os.seteuid(65534)  # nobody
            try:
                reader, writer = await asyncio.open_unix_connection(data / "control.sock")
            finally:
                os.seteuid(0)
            try:
                writer.write(b'{"command":"note","arguments":{}}\n')
                reply = await reader.read()
            except ConnectionError:
                reply = b""
            finally:
                writer.close()
            assert (reply, asked) == (b"", [])
            await call(data, "note")
            assert asked == [ME]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"command":"echo","arguments":[]}\n',
        b'{"command":"echo","arguments":{},"secret":-1}\n',
        b'{"command":"echo","arguments":{},"secret":9999999}\n',
        b'{"command":["echo"],"arguments":{}}\n',
        b"\xff\xfe\n",
        b"x" * 2_000_000 + b"\n",
        b"",
    ],
)
async def test_rubbish(tmp_path: Path, line: bytes) -> None:
    """Whatever is written to the socket, the next one is served."""
    async with ControlServer(tmp_path, {"echo": echo}, ME):
        with short_path(tmp_path / "control.sock") as short:
            reader, writer = await asyncio.open_unix_connection(short)
        try:
            writer.write(line)
            writer.write_eof()
            reply = await reader.read()
        except ConnectionError:
            reply = b""
        finally:
            writer.close()
        assert not reply or b"error" in reply
        assert await call(tmp_path, "echo") == [{}, ME, None]


async def test_nobody_there(tmp_path: Path) -> None:
    """Without a signer, or with the socket of a killed one, it is told so."""
    with pytest.raises(NotRunning):
        await call(tmp_path, "status")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control.sock"))
    with pytest.raises(NotRunning):
        await call(tmp_path, "status")
    async with ControlServer(tmp_path, {"echo": echo}, ME):  # takes its place
        assert await call(tmp_path, "echo") == [{}, ME, None]
    assert not (tmp_path / "control.sock").exists()


async def test_long_paths(tmp_path: Path) -> None:
    """A data directory deeper than a socket address is long works too."""
    data = tmp_path.joinpath(*["deep" * 10] * 4)
    data.mkdir(parents=True)
    async with ControlServer(data, {"echo": echo}, ME):
        assert await call(data, "echo") == [{}, ME, None]


def test_the_kernel_knows_the_peer() -> None:
    """SO_PEERCRED names this process's own user."""
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        assert peer_uid(one) == ME


def test_a_passphrase_is_nowhere_once_it_was_used(tmp_path: Path) -> None:
    """Another process reads all memory of one that a key was unlocked in, in two ways."""
    need(sys.platform == "linux", "memory is read through /proc")
    text = os.urandom(16).hex()
    (pair,) = KeyStore(tmp_path, None).open()
    pair.user.add_slot(Passphrase(text, Argon2(memory_kib=64, passes=1)))
    pair.user.close()
    pair.transport.close()
    passphrase = text.encode()
    child = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("_listening.py"), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "LD_BIND_NOW": "1"},  # as `bunker up` and the systemd unit start it
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        assert send(tmp_path, "unlock", bytearray(passphrase)) == "unlocked"
        with socket.socket(socket.AF_UNIX) as caller:  # line and passphrase in one piece
            caller.connect(str(tmp_path / "control.sock"))
            header = b'{"command":"unlock","secret":%d,"arguments":{}}\n' % len(passphrase)
            caller.sendall(header + passphrase)
            assert orjson.loads(caller.recv(4096)) == {"result": "unlocked"}
        assert scan(child.pid, {"passphrase": passphrase})["passphrase"].total == 0
    finally:
        child.stdin.close()
        child.wait(30)
        child.stdout.close()
