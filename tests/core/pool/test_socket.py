"""pool/socket.py: whole messages in, one write out."""

from typing import Any

from bunker_core.event import EventTemplate, sign_event
from bunker_core.filter import Filter
from bunker_core.messages import encode
from bunker_core.pool import RelayPool
from support.scripted import Message, Peer, scripted_relay
from support.strategies import secret_key

NOTE = sign_event(EventTemplate(20001, "hello \u00fc", (), 1_700_000_000), secret_key(1))
NOTES = Filter(kinds=frozenset({20001}))


async def test_a_message_in_fragments_is_one_message() -> None:
    """However it is cut, also within a character, it is put together before it is read."""

    async def cut(peer: Peer, message: Message) -> bool:
        if message[0] != "REQ":
            return False
        whole = encode(NOTE).replace(b'["EVENT"', b'["EVENT","%s"' % message[1].encode())
        middle = whole.index("\u00fc".encode()) + 1
        for pieces in ([whole[:middle], whole[middle:]], [b"", whole, b""]):
            await peer.socket.send(pieces, text=True)
        await peer.socket.send(b'["EOSE","%s"]' % message[1].encode(), text=True)
        return True

    async with scripted_relay(cut) as relay, RelayPool([relay.url]) as pool:
        subscription = pool.subscribe(NOTES)
        await subscription.live(10)
        assert (await anext(subscription)).event == NOTE
        assert pool._connections[relay.url].protocol.rejected == 0


async def test_what_comes_with_the_handshake_is_not_lost() -> None:
    """A relay may greet before anybody listens."""
    async with scripted_relay() as relay:
        relay.greeting = ["AUTH", "challenge"]
        async with RelayPool([relay.url]) as pool:
            await pool.subscribe(NOTES).live(10)
            assert pool._connections[relay.url].protocol._challenge == "challenge"


class Counting:
    """A transport that counts writes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_a_turn_leaves_in_one_write() -> None:
    """Whatever is sent in a turn of the loop leaves at its end, together and in order."""
    async with scripted_relay() as relay, RelayPool([relay.url]) as pool:
        await pool.connected(10)
        socket: Any = pool._connections[relay.url]._socket
        socket.transport = counting = Counting(socket.transport)
        notes = [
            sign_event(EventTemplate(20001, f"{number}", (), 1_700_000_000), secret_key(1))
            for number in range(20)
        ]
        for note in notes:
            pool.publish(note)
        got = await relay.wait_for("EVENT", len(notes))
        assert [message[1]["id"] for message in got] == [note.id for note in notes]
        assert counting.writes == 1
