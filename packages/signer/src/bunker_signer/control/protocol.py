"""One request and one reply, each a line of JSON; a passphrase follows its request as raw bytes."""

import socket
from pathlib import Path
from typing import Any, Final

import orjson

from bunker_core.errors import BunkerError
from bunker_core.local.sockets import short_path

SOCKET: Final = "control.sock"  # in the data directory
MAX_LINE: Final = 1024 * 1024  # bytes
MAX_SECRET: Final = 1024  # bytes of a passphrase
TIMEOUT: Final = 60.0  # seconds; a passphrase takes a moment to try, a relay to answer

_CLOSED: Final = "the signer closed the connection: are you its owner?"


class ControlError(BunkerError):
    """The signer could not be asked, or it refused; the text is for a person."""


class NotRunning(ControlError):
    """No signer runs on the data directory."""


def send(data: Path, command: str, secret: bytearray | None = None, **arguments: Any) -> Any:
    """Ask the signer that runs on `data`; return its result. Raises ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            with short_path(data / SOCKET) as short:
                connection.connect(short)
            header = {"command": command, "secret": len(secret or b""), "arguments": arguments}
            connection.sendall(orjson.dumps(header) + b"\n")
            if secret is not None:
                connection.sendall(secret)
            reply = b""
            while not reply.endswith(b"\n"):
                piece = connection.recv(65536)
                if not piece:
                    break
                reply += piece
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            f"no signer is running on {data}; start one with `bunker signer run`"
        ) from None
    except (BrokenPipeError, ConnectionResetError):
        raise ControlError(_CLOSED) from None
    except OSError as error:
        raise ControlError(f"the signer on {data} can't be asked: {error}") from None
    try:
        value = orjson.loads(reply)
    except orjson.JSONDecodeError:
        raise ControlError(_CLOSED) from None
    if "error" in value:
        raise ControlError(str(value["error"]))
    return value["result"]
