"""What a restart does to clients; the kit has to have started the relay itself."""

import asyncio
import time

from websockets.exceptions import ConnectionClosed

from bunker.conformance.case import Level, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.relay.signing import pair
from bunker.conformance.relay.subscriptions import to
from bunker.conformance.wire.peer import request

# A clean close is the end to some clients, so a relay may prefer to be cut off.
CLOSING = "RFC 6455, 7.1.1; but applesauce (RxJS) comes back after a cut alone"
LIBRARIES = "practice: nostr-tools, rust-nostr and applesauce subscribe no more after CLOSED"


@case("relay/restart/no-closed", Level.SHOULD, LIBRARIES, alone=True)
async def no_closed(relay: RelayKit) -> None:
    """At SIGTERM the connection is closed without CLOSED before. Sent: SIGTERM."""
    signer, _, _ = await pair(relay)
    await relay.end()
    closed = []
    try:
        while True:
            message = await signer.next("close of the connection")
            if message[0] == "CLOSED":
                closed.append(message)
    except ConnectionClosed:
        pass
    finally:
        await relay.restart()
    expect(not closed, f"{closed[:1]}: such a client stays deaf when the relay is back")


@case("relay/restart/closes-in-words", Level.MAY, CLOSING, alone=True)
async def closes_in_words(relay: RelayKit) -> None:
    """At SIGTERM clients get a close frame. Sent: SIGTERM."""
    peer = await relay.peer()
    await relay.end()
    try:
        while True:
            await peer.next("close of the connection")
    except ConnectionClosed as closed:
        frame = closed.rcvd
    finally:
        await relay.restart()
    expect(frame is not None, "the connection was cut without a close frame")


@case("relay/restart/back", Level.MUST, "practice: a restart is no loss", alone=True)
async def back(relay: RelayKit) -> None:
    """After a kill the relay carries again. Sent: SIGKILL, then a request."""
    await relay.restart(kill=True)
    signer, client, key = await pair(relay)
    event = request(relay.key(), key.pubkey)
    await client.publish(event)
    expect((await signer.delivered("s"))["id"] == event.id, "another event came")


@case("relay/restart/nothing-old", Level.SHOULD, "NIP-01, Kinds: ephemeral", alone=True)
async def nothing_old(relay: RelayKit) -> None:
    """No request from before comes after it. Sent: a request, SIGKILL, REQ."""
    client, key = await relay.peer("client"), relay.key()
    await client.publish(request(relay.key(), key.pubkey))
    await relay.restart(kill=True)
    found = await (await relay.peer("signer")).subscribe("s", to(key.pubkey))
    expect(not found, "a request from before the restart came")


@case("relay/restart/quick", Level.SHOULD, "practice: systemd waits 90 s, people do not",
      alone=True)  # fmt: skip
async def quick(relay: RelayKit) -> None:
    """SIGTERM ends it within 5 s, with clients connected. Sent: SIGTERM."""
    await pair(relay)
    began = time.monotonic()
    await relay.end()
    program = relay.target.program
    try:
        if program is not None:
            async with asyncio.timeout(5):
                await program.process.wait()
    except TimeoutError:
        expect(False, "it still runs 5 s after SIGTERM")
    finally:
        relay.trace.add("kit", False, f"ended or given up after {time.monotonic() - began:.1f} s")
        await relay.restart()
