"""What a client does when its relay goes wrong."""

import asyncio
import time

from bunker.conformance.case import Failed, Level, Silence, case, expect
from bunker.conformance.client.kit import LOGIN, ClientKit
from bunker.conformance.wire.stage import Message, Script, Visitor

RELAYS = "practice: relays restart, and phones change networks"
MUTE = "NIP-01, From relay to client: mute"


async def signs_within(client: ClientKit, seconds: float) -> None:
    """Ask again and again until one signature comes; raises Silence."""
    began, last = time.monotonic(), ""
    while time.monotonic() - began < seconds:
        try:
            await client.sign()
            return
        except (Failed, Silence) as error:
            last = str(error)
            await asyncio.sleep(0.5)
    raise Silence(f"signature ({last})", seconds)


@case("client/relay/dropped", Level.MUST, RELAYS)
async def dropped(client: ClientKit) -> None:
    """After a cut connection it signs again within 20 s. Sent: the relay cuts the connection."""
    await client.login()
    client.relay.drop()
    await signs_within(client, 20)


@case("client/relay/restarted", Level.MUST, RELAYS)
async def restarted(client: ClientKit) -> None:
    """After two seconds without the relay it signs again within 20 s. Sent: a restart."""
    await client.login()
    await client.relay.stop()
    await asyncio.sleep(2)
    await client.relay.start()
    await signs_within(client, 20)


@case("client/relay/dropped-waiting", Level.SHOULD, RELAYS)
async def dropped_waiting(client: ClientKit) -> None:
    """A request that waits outlives a cut connection. Sent: the cut, then the answer."""
    client.signer.on("sign_event", lambda _: [])
    await client.login()
    signing = asyncio.create_task(client.tell("sign", 20.0, event=_note()))
    try:
        asked = await client.signer.request("sign_event", client.patience)
        client.relay.drop()
        await client.relay.until(lambda: not client.relay.listens(asked.client), 5)
        client.signer.on("sign_event", lambda again: [client.signer.good(again)])
        back = await client.relay.until(lambda: client.relay.listens(asked.client), 15)
        expect(back, "it did not come back to the relay")
        await client.signer.send(asked.client, client.signer.good(asked))
        await signing
    finally:
        signing.cancel()
        await asyncio.gather(signing, return_exceptions=True)


@case("client/relay/closed", Level.SHOULD, "NIP-01: a relay may kill a subscription")
async def closed(client: ClientKit) -> None:
    """After CLOSED it signs again within 20 s. Sent: CLOSED "error: shutting down"."""
    await client.login()
    await client.relay.end_subscriptions(
        "error: shutting down idle", to=client.signer.asked[0].client
    )
    await signs_within(client, 20)


@case("client/relay/mute", Level.SHOULD, MUTE)
async def mute(client: ClientKit) -> None:
    """OK true with "mute:" is no failure, the answer may come. Sent: such an OK, the answer."""
    client.relay.script = _acknowledging(client, True, "mute: nobody listens")
    await client.login()
    await client.sign()


@case("client/relay/mute-false", Level.MAY, MUTE)
async def mute_false(client: ClientKit) -> None:
    """OK false with "mute:" is no failure either. Sent: such an OK, then the answer."""
    client.relay.script = _acknowledging(client, False, "mute: nobody listens")
    await client.login()
    await client.sign()


@case("client/relay/no-ok", Level.SHOULD, "practice: relays that send no OK to ephemeral events")
async def no_ok(client: ClientKit) -> None:
    """Without an OK the answer is taken all the same. Sent: the answer alone."""
    client.relay.script = _acknowledging(client, None, "")
    await client.login()
    await client.sign()


def _acknowledging(client: ClientKit, accepted: bool | None, reason: str) -> Script:
    """Return a script whose OK says `accepted` and `reason`; None sends none."""

    async def script(visitor: Visitor, message: Message) -> bool:
        if message[0] != "EVENT":
            return False
        if accepted is not None:
            await visitor.send("OK", message[1]["id"], accepted, reason)
        await client.relay.quietly(visitor, message)
        return True

    return script


@case("client/relay/junk", Level.MUST, "practice: relays send what they like")
async def junk(client: ClientKit) -> None:
    """Messages that can't be read harm nothing. Sent: NOTICE, ["EVENT"], ["FOO"], an OK."""
    await client.login()
    for message in (["NOTICE", "hello"], ["EVENT"], ["FOO", 1], ["OK", "x"], ["EVENT", "s", {}]):
        await client.relay.say(*message)
    await client.sign()


@case("client/relay/auth-challenge", Level.MUST, "NIP-42: at any moment the relay may send AUTH")
async def auth_challenge(client: ClientKit) -> None:
    """A challenge that is not needed harms nothing. Sent: AUTH when the connection opens."""
    client.relay.greeting = ["AUTH", "challenge-of-the-kit"]
    await client.login()
    await client.sign()


@case("client/relay/one-of-two", Level.SHOULD, "NIP-46: bunker:// names one relay or more")
async def one_of_two(client: ClientKit) -> None:
    """With one of two relays away it logs in. Sent: a URI whose first relay is dead."""
    alive = client.relays[1]
    client.signer.join(alive)
    await client.relays[0].stop()
    await client.login(LOGIN + 10)
    await client.sign()


@case("client/relay/refused", Level.SHOULD, "NIP-01: OK false")
async def refused(client: ClientKit) -> None:
    """A refused request ends in an error or is sent again, it does not hang. Sent: OK false."""
    await client.login()

    async def script(visitor: Visitor, message: Message) -> bool:
        if message[0] != "EVENT":
            return False
        await visitor.send("OK", message[1]["id"], False, "blocked: not on this relay")
        return True

    client.relay.script = script
    try:
        await client.tell("sign", 15.0, event=_note())
    except Failed:
        return
    expect(False, "signed, without the relay having carried it")


def _note() -> dict[str, object]:
    return {"kind": 1, "content": "conformance", "tags": [], "created_at": int(time.time())}
