"""What can't be understood: it is answered, and harms neither this connection nor others."""

import asyncio

from bunker.conformance.case import Level, Silence, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.relay.signing import pair
from bunker.conformance.wire.peer import note, request

LIVES = "practice: what one client sends harms nobody else"
NOTICE = "NIP-01, From relay to client: NOTICE"


async def survives(relay: RelayKit, text: str | bytes) -> None:
    """Send a frame; others must be served after it, whatever becomes of its sender."""
    signer, client, key = await pair(relay)
    hostile = await relay.peer("hostile")
    if isinstance(text, bytes):
        hostile.note(f"binary frame of {len(text)} bytes")
        await hostile.socket.send(text)
    else:
        await hostile.send_text(text)
    event = request(relay.key(), key.pubkey)
    await client.publish(event)
    expect((await signer.delivered("s"))["id"] == event.id, "another event came")
    await (await relay.peer("next")).alive()


async def answered(relay: RelayKit, text: str) -> None:
    """Send a frame; it must be answered, and its connection must live."""
    peer = await relay.peer()
    await peer.send_text(text)
    await peer.next("answer (NOTICE)")
    await peer.alive()


@case("relay/hostile/not-json", Level.SHOULD, NOTICE)
async def not_json(relay: RelayKit) -> None:
    """Text that is not JSON is answered, and the connection lives. Sent: `not json`."""
    await answered(relay, "not json")


@case("relay/hostile/unknown-verb", Level.SHOULD, NOTICE)
async def unknown_verb(relay: RelayKit) -> None:
    """An unknown message is answered, and the connection lives. Sent: ["FOO","x"]."""
    await answered(relay, '["FOO","x"]')


@case("relay/hostile/unknown-verb-lives", Level.MUST, LIVES)
async def unknown_verb_lives(relay: RelayKit) -> None:
    """A message of a newer NIP does not end the connection. Sent: ["FOO","x"]."""
    peer = await relay.peer()
    await peer.send_text('["FOO","x"]')
    await peer.alive()


@case("relay/hostile/empty-array", Level.SHOULD, NOTICE)
async def empty_array(relay: RelayKit) -> None:
    """An empty array is answered, and the connection lives. Sent: []."""
    await answered(relay, "[]")


@case("relay/hostile/event-of-text", Level.SHOULD, NOTICE)
async def event_of_text(relay: RelayKit) -> None:
    """An event that is no object is answered. Sent: ["EVENT","x"]."""
    await answered(relay, '["EVENT","x"]')


@case("relay/hostile/binary", Level.MUST, LIVES)
async def binary(relay: RelayKit) -> None:
    """A binary frame harms nobody else. Sent: 1,000 bytes."""
    await survives(relay, bytes(range(250)) * 4)


@case("relay/hostile/deep", Level.MUST, LIVES)
async def deep(relay: RelayKit) -> None:
    """Deep nesting harms nobody else. Sent: 50,000 opening brackets."""
    await survives(relay, "[" * 50_000)


@case("relay/hostile/long-number", Level.MUST, LIVES)
async def long_number(relay: RelayKit) -> None:
    """A number of 5,000 digits harms nobody else. Sent: a REQ with such a since."""
    await survives(relay, f'["REQ","s",{{"since":{"9" * 5_000}}}]')


@case("relay/hostile/half-emoji", Level.MUST, LIVES)
async def half_emoji(relay: RelayKit) -> None:
    """Half a surrogate pair harms nobody else. Sent: a REQ with the id "\\ud800"."""
    await survives(relay, '["REQ","\\ud800",{"kinds":[24133],"#p":["\\ud800"]}]')


@case("relay/hostile/long-a-tag", Level.MUST, LIVES)
async def long_a_tag(relay: RelayKit) -> None:
    """A deletion with a kind of 4,301 digits harms nobody else. Sent: kind 5 with such an a tag."""
    key = relay.key()
    tags = (("a", f"{'9' * 4_301}:{key.pubkey}:x"),)
    peer = await relay.peer("hostile")
    await peer.send("EVENT", note(key, kind=5, tags=tags))
    await survives(relay, "[]")


@case("relay/hostile/ping", Level.MUST, "RFC 6455, 5.5.2: a Ping is answered with a Pong")
async def ping(relay: RelayKit) -> None:
    """A WebSocket ping is answered. Sent: ping."""
    peer = await relay.peer()
    pong = await peer.socket.ping(b"conformance")
    try:
        await asyncio.wait_for(pong, peer.patience)
    except TimeoutError:
        raise Silence("pong", peer.patience) from None


@case("relay/hostile/fragments", Level.MUST, "RFC 6455, 5.4: fragmentation")
async def fragments(relay: RelayKit) -> None:
    """A message in pieces is put together. Sent: a REQ in four fragments."""
    peer = await relay.peer()
    peer.note('["REQ","s",{"kinds":[24133],"#p":["ff…"]}] in four fragments')
    text = f'["REQ","s",{{"kinds":[24133],"#p":["{relay.key().pubkey}"]}}]'
    await peer.socket.send([text[:5], text[5:20], text[20:40], text[40:]])
    message = await peer.next("EOSE")
    expect(message[:2] == ["EOSE", "s"], f"answered with {message}")
