"""What the fast path touches inside uvicorn and websockets is there, and means what it did."""

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bunker_core.keys import SecretKey
from bunker_relay.client.fast_path import FastPathProtocol, lacking
from bunker_relay.client.fast_path.uvicorn import METHODS
from support.wire import Peer, note, running_relay


def test_a_known_uvicorn_lacks_nothing() -> None:
    """What is installed has all that the fast path uses, and what is overridden is on the list."""
    assert lacking() == []
    stock = WebSocketsSansIOProtocol
    own = {
        name
        for protocol in FastPathProtocol.__mro__[: FastPathProtocol.__mro__.index(stock)]
        for name, value in vars(protocol).items()
        if inspect.isfunction(value) and hasattr(WebSocketsSansIOProtocol, name)
    }
    called = {"receive", "send_500_response", "start_keepalive"}
    assert own | called == set(METHODS)
    source = inspect.getsource(WebSocketsSansIOProtocol)
    # From a disconnect on, nothing but put_nowait is asked of the queue.
    assert "self.queue.get" in inspect.getsource(WebSocketsSansIOProtocol.receive)
    assert source.count("self.queue.") == source.count("self.queue.put_nowait") + 2


@pytest.mark.parametrize("name", ["shutdown", "keepalive_timeout"])
def test_a_method_that_is_gone_is_seen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It would silently not be overridden any more."""
    monkeypatch.delattr(WebSocketsSansIOProtocol, name)
    assert lacking() == [name]


def test_an_attribute_that_is_gone_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another name, it is another."""
    code = WebSocketsSansIOProtocol.__init__.__code__
    names = tuple("renamed" if name == "read_paused" else name for name in code.co_names)
    monkeypatch.setattr(WebSocketsSansIOProtocol.__init__, "__code__", code.replace(co_names=names))
    assert lacking() == ["read_paused"]


def test_an_unknown_uvicorn_is_served_the_ordinary_way(tmp_path: Path) -> None:
    """The relay starts, says what is missing, and carries events; nobody waits for a release."""
    program = (
        "from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol\n"
        "WebSocketsSansIOProtocol.__init__.__code__ = (c := WebSocketsSansIOProtocol.__init__"
        ".__code__).replace(co_names=tuple('_app' if n == 'app' else n for n in c.co_names))\n"
        "WebSocketsSansIOProtocol.app = property(lambda self: self._app)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(program)
    with running_relay(tmp_path / "data", environ={"PYTHONPATH": str(tmp_path)}) as relay:

        async def talk() -> None:
            async with Peer(relay.url) as peer:
                event = note(SecretKey.generate())
                assert await peer.publish(event) == (True, "")
                assert await peer.ids({}) == [event.id]

        asyncio.run(talk())
        assert "the ordinary, slower way" in relay.log()
        assert "lacks=app" in relay.log()


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
    """Where it waits and `current_size` are how the fast path knows that it may read on."""
    parser = accepted()

    def waits_in() -> str:
        waits: Any = parser.parser
        while waits.gi_yieldfrom is not None:
            waits = waits.gi_yieldfrom
        return str(waits.__name__)

    assert (waits_in(), parser.current_size) == ("at_eof", None)
    parser.receive_data(b"\x01\x81\x00\x00\x00\x00")  # a header without its payload
    assert waits_in() != "at_eof"
    assert not parser.reader.buffer
    parser.receive_data(b"x")  # the first fragment of a message
    assert (waits_in(), parser.current_size) == ("at_eof", 1)
    parser.receive_data(b"\x80\x81\x00\x00\x00\x00y")
    assert (waits_in(), parser.current_size) == ("at_eof", None)
    assert not parser.reader.buffer
    assert [getattr(item, "opcode", None) for item in parser.events_received()] == [
        Opcode.TEXT,
        Opcode.CONT,
    ]
