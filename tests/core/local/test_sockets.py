"""Sockets that listen; of Unix sockets the peer that the kernel names, and addresses that fit."""

import os
import socket
import struct
from pathlib import Path

import pytest

from bunker_core.local.sockets import listen, peer_uid, short_path


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_listens_when_it_is_there(host: str) -> None:
    """Somebody may come before anything is accepted; the port is then nobody else's."""
    with listen(host, 0) as listening:
        port = listening.getsockname()[1]
        socket.create_connection((host, port), 10).close()
        with pytest.raises(OSError, match="in use"):
            listen(host, port)


@pytest.mark.parametrize("host", ["\udcff", "a\x00b", "x" * 300, "a..b"])
def test_a_text_that_is_no_host_is_an_error(host: str) -> None:
    """An OSError like all others, whatever a command line or a file gave."""
    with pytest.raises(OSError, match=r"host|Name or service|nodename|resolution"):
        listen(host, 0)


def test_a_number_that_is_no_port_is_an_error() -> None:
    """It is not taken modulo 65536."""
    with pytest.raises(OverflowError):
        listen("127.0.0.1", 65_536)


class Darwin:
    """A socket that knows what macOS' kernel knows: unix(4), LOCAL_PEERCRED of SOL_LOCAL."""

    def __init__(self, version: int, uid: int) -> None:
        self._xucred = struct.pack("=IIh2x16I", version, uid, 1, *range(16))

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        assert (level, option) == (0, 1)
        assert size >= len(self._xucred)
        return self._xucred


def test_the_kernel_names_the_peer() -> None:
    """Both ends of a pair are this very process."""
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        assert peer_uid(one) == peer_uid(two) == os.geteuid()


def test_macos_names_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no SO_PEERCRED, the uid is the second field of struct xucred."""
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    assert peer_uid(Darwin(0, 501)) == 501
    with pytest.raises(OSError, match="unknown version"):
        peer_uid(Darwin(7, 501))


def test_a_kernel_that_does_not_tell_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is taken for the owner because the kernel was silent."""
    monkeypatch.delattr(socket, "SO_PEERCRED")
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two, pytest.raises(OSError):  # noqa: PT011 -- what it says is the kernel's
        peer_uid(one)


@pytest.mark.parametrize("proc", [True, False])
def test_an_address_fits_however_deep_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proc: bool
) -> None:
    """A socket deep in the tree is bound and reached, with /proc and without."""
    if not proc:
        monkeypatch.delattr(os, "O_PATH")
    folder = tmp_path.joinpath(*["deep" * 10] * 5)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with short_path(path) as short:
            assert len(short) <= 103
            server.bind(short)
        server.listen()
        assert path.is_socket()
        with short_path(path) as short:
            client.connect(short)
        with server.accept()[0] as accepted:
            assert peer_uid(accepted) == os.geteuid()
    assert not list(Path("/tmp").glob("bunker-*/d"))
