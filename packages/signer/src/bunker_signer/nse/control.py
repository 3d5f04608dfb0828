"""Locking and unlocking the keys of a running signer, from another terminal.

The signer listens on a Unix socket (mode 0600, and only its own user or root is answered); a
request is one JSON line, and the secrets that an unlock needs follow it as raw bytes, so that they
never become text. This is what `bunker key lock` and `bunker key unlock` talk to.
"""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

from bunker_core.keys import wipe
from bunker_signer.nse.enclave import NSE
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.wrap import make_protector

SOCKET_NAME: Final = "control.sock"  # in the key directory

_MAX_LINE: Final = 4096
_MAX_SECRETS: Final = 4
_MAX_SECRET: Final = 1024
_TIMEOUT: Final = 60.0  # seconds for one request; a slow passphrase takes a few
_PEER: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


class ControlServer:
    """Answers for these enclaves, by name, until `close`."""

    def __init__(self, path: Path, enclaves: Mapping[str, NSE]) -> None:
        """Listen at `path`, which a dead signer may have left behind; raises NSEError."""
        self._enclaves = dict(enclaves)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)
            self._socket.bind(str(path))
            self._socket.listen(4)
        except OSError as error:
            self._socket.close()
            raise NSEError(
                f"can't listen at {path}: {error.strerror or error}", NSEErrorCode.STORAGE_ERROR
            ) from None
        finally:
            os.umask(before)
        self._thread = threading.Thread(target=self._serve, name="nse-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:  # closed
                return
            with peer:
                peer.settimeout(_TIMEOUT)
                try:
                    answer = self._answer(peer)
                except NSEError as error:
                    answer = {"error": str(error), "code": error.code.value}
                except (OSError, ValueError, TypeError, KeyError):
                    answer = {"error": "request can't be read", "code": "STORAGE_ERROR"}
                try:
                    peer.sendall(orjson.dumps(answer) + b"\n")
                except OSError:
                    continue  # gone before the answer

    def _answer(self, peer: socket.socket) -> dict[str, Any]:
        _check_peer(peer)
        request = orjson.loads(_read_line(peer))
        if not isinstance(request, dict) or not isinstance(request.get("options", {}), dict):
            raise ValueError
        sizes = [int(size) for size in request.get("secrets", [])]
        if len(sizes) > _MAX_SECRETS or any(not 0 <= size <= _MAX_SECRET for size in sizes):
            raise ValueError
        secrets = [_read_exactly(peer, size) for size in sizes]
        try:
            nse = self._enclaves.get(request["name"])
            if nse is None:
                raise NSEError("the signer holds no key of this name", NSEErrorCode.KEY_NOT_FOUND)
            match request["do"]:
                case "lock":
                    nse.lock()
                case "unlock":
                    waiting = iter(secrets)
                    protector = make_protector(
                        str(request["type"]),
                        {str(name): str(value) for name, value in request["options"].items()},
                        lambda _label: next(waiting, bytearray()),
                    )
                    try:
                        nse.unlock(protector)
                    finally:
                        close = getattr(protector, "close", None)
                        if close is not None:
                            close()
                case "status":
                    pass
                case _:
                    raise ValueError
            return {"locked": nse.locked, "memory": nse.memory_level.value}
        finally:
            for secret in secrets:
                wipe(secret)


def ask(
    path: Path,
    do: str,
    name: str,
    *,
    slot_type: str = "",
    options: Mapping[str, str] | None = None,
    secrets: Sequence[bytearray] = (),
) -> dict[str, Any]:
    """Send one request to the signer at `path` and return its answer; raises NSEError."""
    request = {
        "do": do,
        "name": name,
        "type": slot_type,
        "options": dict(options or {}),
        "secrets": [len(secret) for secret in secrets],
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(_TIMEOUT)
        try:
            peer.connect(str(path))
            with contextlib.suppress(BrokenPipeError):  # refused early: the answer says why
                peer.sendall(orjson.dumps(request) + b"\n")
                for secret in secrets:
                    peer.sendall(secret)
            answer: dict[str, Any] = orjson.loads(_read_line(peer))
        except (OSError, ValueError):
            raise NSEError(
                f"no signer answers at {path}: is it running on this data directory?",
                NSEErrorCode.HARDWARE_UNAVAILABLE,
            ) from None
    if "error" in answer:
        raise NSEError(str(answer["error"]), NSEErrorCode(answer["code"]))
    return answer


def _check_peer(peer: socket.socket) -> None:
    # The mode of the socket already keeps others out; a wrong umask must not be enough.
    if not hasattr(socket, "SO_PEERCRED"):
        return
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(credentials)
    if uid not in (0, os.getuid()):
        raise NSEError("another user is not answered", NSEErrorCode.AUTH_FAILED)


def _read_line(peer: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = peer.recv(1)  # not beyond the line: what follows is secret
        if not byte or len(line) >= _MAX_LINE:
            raise ValueError
        line += byte
    return bytes(line)


def _read_exactly(peer: socket.socket, size: int) -> bytearray:
    secret = bytearray(size)
    view = memoryview(secret)
    while view:
        length = peer.recv_into(view)
        if not length:
            raise ValueError
        view = view[length:]
    return secret
