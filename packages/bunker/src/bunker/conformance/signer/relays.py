"""What a signer does when its relays go wrong; the kit has to start it, and plays the relays."""

import asyncio
import json
import secrets
import time
from functools import partial

from bunker.conformance.case import Level, NotOffered, Silence, case, expect
from bunker.conformance.signer.client import Client
from bunker.conformance.signer.kit import SignerKit
from bunker.conformance.signer.methods import template
from bunker.conformance.wire.stage import Message, StageRelay, Visitor
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import parse_bunker_uri

RELAYS = "practice: relays restart, and phones change networks"
TWO = "NIP-46: bunker:// names one relay or more"


async def answers_again(client: Client, seconds: float) -> None:
    """Ping once a second until the signer answers; raises Silence after `seconds`."""
    patience, client.peer.patience = client.peer.patience, 1.0
    began = time.monotonic()
    try:
        while True:
            try:
                await client.ask("ping")
                return
            except Silence:
                if time.monotonic() - began > seconds:
                    raise Silence("answer to a ping, sent every second", seconds) from None
    finally:
        client.peer.patience = patience


async def renewed(signer: SignerKit, client: Client) -> Client:
    """Return the same client on a new connection."""
    again = Client(await signer.peer(client.peer.url), client.key, client.signer)
    await again.listen()
    return again


@case("signer/relay/listens-first", Level.SHOULD, "practice: Amber#420, subscribed before the URI",
      keyless=True)  # fmt: skip
async def listens_first(signer: SignerKit) -> None:
    """When the URI is shown, the signer listens within a second. Sent: nothing."""
    relay = await signer.relay()
    uri = parse_bunker_uri(await (await signer.start(relay)).uri())
    heard = await relay.until(lambda: relay.listens(uri.remote_signer_pubkey), 1.0)
    expect(heard, "whoever pastes the URI at once finds nobody listening")


@case("signer/relay/narrow", Level.SHOULD, "practice: relays refuse {\"kinds\":[24133]} for all",
      keyless=True)  # fmt: skip
async def narrow(signer: SignerKit) -> None:
    """It asks for kind 24133 to its own pubkey. Sent: nothing."""
    relay = await signer.relay()
    client = await signer.fresh(relay)
    for message in relay.received:
        if message[0] == "REQ" and any(client.signer in item.get("#p", []) for item in message[2:]):
            kinds = [item.get("kinds") for item in message[2:]]
            expect(all(isinstance(item, list) and 24133 in item for item in kinds), str(kinds))


@case("signer/relay/dropped", Level.MUST, RELAYS, keyless=True)
async def dropped(signer: SignerKit) -> None:
    """After a cut connection it is back within 20 s. Sent: the relay cuts all connections."""
    relay = await signer.relay()
    client = await signer.fresh(relay)
    relay.drop()
    await answers_again(await renewed(signer, client), 20)


@case("signer/relay/restarted", Level.MUST, RELAYS, keyless=True)
async def restarted(signer: SignerKit) -> None:
    """After two seconds without the relay it is back within 20 s. Sent: the relay restarts."""
    relay = await signer.relay()
    client = await signer.fresh(relay)
    await relay.stop()
    await asyncio.sleep(2)
    await relay.start()
    await answers_again(await renewed(signer, client), 20)


@case("signer/relay/closed", Level.SHOULD, "NIP-01: a relay may kill a subscription", keyless=True)
async def closed(signer: SignerKit) -> None:
    """After CLOSED it subscribes again within 20 s. Sent: CLOSED "error: shutting down"."""
    relay = await signer.relay()
    client = await signer.fresh(relay)
    await relay.end_subscriptions("error: shutting down idle", to=client.signer)
    await answers_again(client, 20)


@case("signer/relay/junk", Level.MUST, "practice: relays send what they like", keyless=True)
async def junk(signer: SignerKit) -> None:
    """Messages that can't be read harm nothing. Sent: NOTICE, ["EVENT"], ["FOO"], an OK."""
    relay = await signer.relay()
    client = await signer.fresh(relay)
    for message in (["NOTICE", "hello"], ["EVENT"], ["FOO", 1], ["OK", "x"], ["EVENT", "s", {}]):
        await relay.say(*message)
    await answers_again(client, 5)


@case("signer/relay/no-eose", Level.MAY, "practice: relays that send no EOSE", keyless=True)
async def no_eose(signer: SignerKit) -> None:
    """Without EOSE it serves all the same. Sent: a relay that sends none."""
    relay = await signer.relay()

    async def script(visitor: Visitor, message: Message) -> bool:
        if message[0] != "REQ" or message[1] == "responses":
            return False
        await relay.quietly(visitor, message)
        return True

    relay.script = script
    await signer.fresh(relay)


@case("signer/relay/rate-limited", Level.SHOULD, "practice: Amber 3.4.5, a fresh event each time",
      keyless=True)  # fmt: skip
async def rate_limited(signer: SignerKit) -> None:
    """A response that the relay refuses is sent again. Sent: OK false "rate-limited:" once."""
    relay = await signer.relay()
    client = await signer.fresh(relay)
    refused: set[str] = set()

    async def script(visitor: Visitor, message: Message) -> bool:
        if message[0] != "EVENT" or message[1].get("pubkey") != client.signer:
            return False
        if refused - {message[1]["id"]} or len(refused) > 1:
            return False
        refused.add(message[1]["id"])
        await visitor.send("OK", message[1]["id"], False, "rate-limited: slow down")
        return True

    relay.script = script
    await client.send({"id": "limited", "method": "ping", "params": []})
    client.peer.patience = 10
    await client.answer("limited", "second sending of a response that was refused")


@case("signer/relay/auth", Level.SHOULD, "NIP-42: auth-required", keyless=True)
async def auth(signer: SignerKit) -> None:
    """Where AUTH is required it authenticates. Sent: AUTH challenge, CLOSED auth-required."""
    relay = await signer.relay()
    relay.greeting = ["AUTH", "challenge-of-the-kit"]
    known: set[Visitor] = set()

    async def script(visitor: Visitor, message: Message) -> bool:
        if message[0] == "AUTH":
            known.add(visitor)
            await visitor.send("OK", message[1]["id"], True, "")
            return True
        if message[0] == "REQ" and visitor not in known and message[1] != "responses":
            await visitor.send("CLOSED", message[1], "auth-required: say who you are")
            return True
        return False

    relay.script = script
    uri = parse_bunker_uri(await (await signer.start(relay)).uri())
    heard = await relay.until(lambda: relay.listens(uri.remote_signer_pubkey), 10)
    if not known:
        raise NotOffered("does not authenticate to relays")
    expect(heard, "it authenticated and did not subscribe again")


async def two(signer: SignerKit) -> tuple[StageRelay, StageRelay, Client]:
    """Return two relays with a signer on both, and a client that paired by the first."""
    first, second = await signer.relay(), await signer.relay()
    client = await signer.fresh(first, second)
    await second.until(lambda: second.listens(client.signer), 5)
    return first, second, client


async def on(signer: SignerKit, relay: StageRelay, client: Client) -> Client:
    """Return the same client on another relay."""
    other = Client(await signer.peer(relay.url, "client, second relay"), client.key, client.signer)
    await other.listen()
    return other


@case("signer/relay/second", Level.MUST, TWO, keyless=True)
async def second(signer: SignerKit) -> None:
    """A request by the second relay is answered there. Sent: ping by the second relay."""
    _, other, client = await two(signer)
    await (await on(signer, other, client)).ask("ping")


@case("signer/relay/both-once", Level.SHOULD, "practice: clients publish to all relays")
async def both_once(signer: SignerKit) -> None:
    """A request that comes by two relays is one. Sent: one sign_event, by both relays."""
    _, other, client = await two(signer)
    again = await on(signer, other, client)
    value = {"id": "both", "method": "sign_event", "params": [json.dumps(template())]}
    event = await client.send(value)
    await again.peer.send("EVENT", event)
    results = [(await client.answer("both")).result]
    await client.settled()
    await again.settled()
    late = [*await client.came(), *await again.came()]
    results += [str(a.value.get("result")) for a in late if a.value.get("id") == "both"]
    expect(len(set(results)) == 1, "signed twice")


@case("signer/relay/first-dies", Level.MUST, TWO, keyless=True)
async def first_dies(signer: SignerKit) -> None:
    """When one relay is gone the other serves. Sent: the first relay ends, ping by the second."""
    gone, other, client = await two(signer)
    again = await on(signer, other, client)
    await gone.stop()
    await answers_again(again, 5)


@case("signer/relay/first-silent", Level.SHOULD, TWO, keyless=True)
async def first_silent(signer: SignerKit) -> None:
    """A relay that answers nothing delays nothing. Sent: ping by the second of two relays."""
    silent, other, client = await two(signer)
    again = await on(signer, other, client)

    async def nothing(_visitor: Visitor, _message: Message) -> bool:
        return True

    silent.script = nothing
    began = time.monotonic()
    for _ in range(5):
        await again.ask("ping")
    expect(time.monotonic() - began < 5, "five pings took over 5 s")


@case("signer/relay/first-dead", Level.SHOULD, TWO, keyless=True)
async def first_dead(signer: SignerKit) -> None:
    """A signer starts though one of its relays is away. Sent: a relay that nobody serves."""
    dead, alive = await signer.relay(), await signer.relay()
    await dead.stop()
    uri = parse_bunker_uri(await (await signer.start(dead, alive)).uri())
    listens = partial(alive.listens, uri.remote_signer_pubkey)
    expect(await alive.until(listens, 10), "it does not listen on the relay that is there")
    peer = await signer.peer(alive.url)
    client = Client(peer, SecretKey.generate(), uri.remote_signer_pubkey)
    await client.listen()
    signer.trace.hide(uri.secret or "", "the secret")
    answer = await client.ask("connect", client.signer, uri.secret or "", "", secrets.token_hex(2))
    expect(answer.result in ("ack", uri.secret), f"answered with {answer.result!r}")
