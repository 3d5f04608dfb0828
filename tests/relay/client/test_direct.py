"""What the direct line touches inside uvicorn and websockets is there, and means what it did."""

import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bunker_relay.client.direct import DirectProtocol

PROJECT: Final = Path(__file__).parents[3] / "packages" / "relay" / "pyproject.toml"

# Methods that `direct` overrides or calls, and attributes that it reads or sets.
METHODS = (
    "connection_lost",
    "data_received",
    "handle_parser_exception",
    "receive",
    "resume_writing",
    "run_asgi",
    "send",
    "send_500_response",
    "send_receive_event_to_app",
    "shutdown",
)
ATTRIBUTES = (
    "app",
    "close_sent",
    "close_timer",
    "config",
    "conn",
    "curr_msg_data_type",
    "frames",
    "queue",
    "read_paused",
    "transport",
)


def test_uvicorn_is_the_one_that_was_read() -> None:
    """The package asks for the very version that is installed: another is read first."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    assert f"uvicorn=={version('uvicorn')}" in project["dependencies"]


def test_the_methods_are_there() -> None:
    """A method that is renamed would silently not be overridden any more."""
    for name in METHODS:
        assert callable(getattr(WebSocketsSansIOProtocol, name))
    own = {name for name, value in vars(DirectProtocol).items() if inspect.isfunction(value)}
    overridden = {name for name in own if hasattr(WebSocketsSansIOProtocol, name)}
    assert overridden == set(METHODS) - {
        "handle_parser_exception",
        "receive",
        "send",
        "send_500_response",
    }


def test_the_attributes_are_there() -> None:
    """So are those that it reads and sets."""
    source = inspect.getsource(WebSocketsSansIOProtocol)
    for name in ATTRIBUTES:
        assert f"self.{name}" in source
    # From a disconnect on, nothing but put_nowait is asked of the queue.
    assert "self.queue.get" in inspect.getsource(WebSocketsSansIOProtocol.receive)
    assert source.count("self.queue.") == source.count("self.queue.put_nowait") + 2


def accepted() -> ServerProtocol:
    """Return a server's parser after the handshake."""
    parser = ServerProtocol(max_size=100)
    parser.receive_data(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    (request,) = parser.events_received()
    assert isinstance(request, Request)
    parser.send_response(parser.accept(request))
    return parser


def test_the_parser_tells_whether_it_is_between_frames() -> None:
    """`reader.buffer` and `current_size` are how the direct line knows that it may read on."""
    parser = accepted()
    assert not parser.reader.buffer
    assert parser.current_size is None
    parser.receive_data(b"\x01\x81\x00\x00\x00\x00x")  # the first fragment of a message
    assert parser.current_size == 1
    parser.receive_data(b"\x80\x81\x00\x00\x00\x00y")
    assert parser.current_size is None
    assert not parser.reader.buffer
    assert [getattr(item, "opcode", None) for item in parser.events_received()] == [
        Opcode.TEXT,
        Opcode.CONT,
    ]
