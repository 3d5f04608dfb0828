"""Many, and slow ones: whoever does not read delays nobody else. Each case runs alone."""

import asyncio
from contextlib import suppress

from websockets.exceptions import ConnectionClosed

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.relay.signing import pair
from bunker.conformance.relay.subscriptions import events, to
from bunker.conformance.wire.peer import request

BURST = "practice: an app that opens 300 messages asks for 300 decryptions at once"
SLOW = "practice: a phone that fell asleep reads nothing"


@case("relay/load/burst-300", Level.SHOULD, BURST, alone=True)
async def burst_300(relay: RelayKit) -> None:
    """300 requests at once are all acknowledged and delivered. Sent: 300 EVENTs in a row."""
    signer, client, key = await pair(relay)
    author = relay.key()
    made = [request(author, key.pubkey) for _ in range(300)]
    for event in made:
        await client.send("EVENT", event)
    refusals = [reason for event in made if not (said := await client.ok(event.id))[0]
                for reason in said[1:]]  # fmt: skip
    expect(not refusals, f"{len(refusals)} of 300 refused: {next(iter(refusals), '')}")
    got = await events(signer)
    expect(len(got) == len(made), f"{len(got)} of {len(made)} delivered")


@case("relay/load/twenty-connections", Level.SHOULD, "practice: a family behind one address",
      alone=True)  # fmt: skip
async def twenty_connections(relay: RelayKit) -> None:
    """Twenty connections of one address are served. Sent: a REQ on each."""
    for number in range(20):
        peer = await relay.peer(f"client {number}")
        await peer.subscribe("s", to(relay.key().pubkey))


@case("relay/load/unread-replies", Level.MUST, SLOW, alone=True)
async def unread_replies(relay: RelayKit) -> None:
    """Whoever reads no replies delays nobody else. Sent: 500 EVENTs unread, then a request."""
    signer, client, key = await pair(relay)
    deaf = await relay.peer("deaf")
    author, nobody = relay.key(), relay.key().pubkey
    with suppress(ConnectionClosed):
        for _ in range(500):
            await deaf.send("EVENT", request(author, nobody))
    event = request(relay.key(), key.pubkey)
    await client.publish(event)
    expect((await signer.delivered("s"))["id"] == event.id, "another event came")


@case("relay/load/slow-reader", Level.MUST, SLOW, alone=True)
async def slow_reader(relay: RelayKit) -> None:
    """Whoever reads nothing delays no other subscriber. Sent: 6 MB to two, of whom one reads."""
    signer, client, key = await pair(relay)
    asleep = await relay.peer("asleep")
    await asleep.subscribe("s", to(key.pubkey))
    asleep.socket.transport.pause_reading()
    author = relay.key()
    made = [request(author, key.pubkey, "x" * 15_000 + str(number)) for number in range(400)]

    async def write() -> None:
        for event in made:
            accepted, reason = await client.publish(event)
            if not accepted:
                raise NotOffered(f"takes no such crowd: {reason}")

    async def read() -> None:
        for event in made:
            expect((await signer.delivered("s"))["id"] == event.id, "another event came")

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            tasks.create_task(read())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        asleep.socket.transport.abort()
