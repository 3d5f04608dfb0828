"""NIP-46, the events: how requests and responses look on the wire."""

import json
import time

from bunker.conformance.case import Level, NotOffered, Silence, case, expect
from bunker.conformance.signer.kit import SignerKit
from bunker.conformance.signer.methods import template
from bunker.conformance.wire.peer import note
from bunker_core.event import verify
from bunker_core.nips.channel import Scheme

RESPONSE = "NIP-46, Response Events"
REQUEST = "NIP-46, Request Events"
HARMLESS = "practice: what one client sends harms nobody else"


@case("signer/wire/kind-and-p", Level.MUST, RESPONSE, keyless=True)
async def kind_and_p(signer: SignerKit) -> None:
    """A response is kind 24133 with the client's p tag. Sent: ping []."""
    client = await signer.paired()
    event = (await client.ask("ping")).event
    expect(event.kind == 24133, f"kind is {event.kind}")
    expect(event.tag_values("p") == (client.key.pubkey,), f"tags are {event.tags}")


@case("signer/wire/author", Level.MUST, RESPONSE, keyless=True)
async def author(signer: SignerKit) -> None:
    """Its author is the remote signer of the URI. Sent: ping []."""
    client = await signer.paired()
    event = (await client.ask("ping")).event
    expect(event.pubkey == client.signer, "another author")


@case("signer/wire/signature", Level.MUST, "NIP-01, Events and signatures", keyless=True)
async def signature(signer: SignerKit) -> None:
    """Id and signature hold. Sent: ping []."""
    verify((await (await signer.paired()).ask("ping")).event)


@case("signer/wire/nip44", Level.MUST, f"{RESPONSE}: nip44(<response>)", keyless=True)
async def encrypted_44(signer: SignerKit) -> None:
    """The response is encrypted with NIP-44. Sent: ping [], encrypted with NIP-44."""
    answer = await (await signer.paired()).ask("ping")
    expect(answer.scheme is Scheme.NIP44, "encrypted with NIP-04")


@case("signer/wire/created-at", Level.MUST, f"{RESPONSE}: created_at", keyless=True)
async def created_at(signer: SignerKit) -> None:
    """created_at is now, give or take a minute. Sent: ping []."""
    event = (await (await signer.paired()).ask("ping")).event
    off = event.created_at - int(time.time())
    expect(abs(off) <= 60, f"off by {off} s")


@case("signer/wire/not-before-request", Level.SHOULD, "practice: nak subscribes with since=now",
      keyless=True)  # fmt: skip
async def not_before_request(signer: SignerKit) -> None:
    """A response is not older than its request. Sent: ping [] of a second ahead."""
    now = int(time.time()) + 1
    answer = await (await signer.paired()).ask("ping", created_at=now)
    early = now - answer.event.created_at
    expect(early <= 0, f"created_at is {early} s before the request's")


@case("signer/wire/clock-behind", Level.SHOULD, "practice: phones' clocks are off", keyless=True)
async def clock_behind(signer: SignerKit) -> None:
    """A request of 30 seconds ago is answered. Sent: ping with such a created_at."""
    await (await signer.paired()).ask("ping", created_at=int(time.time()) - 30)


@case("signer/wire/clock-ahead", Level.SHOULD, "practice: phones' clocks are off", keyless=True)
async def clock_ahead(signer: SignerKit) -> None:
    """A request of 30 seconds ahead is answered. Sent: ping with such a created_at."""
    await (await signer.paired()).ask("ping", created_at=int(time.time()) + 30)


@case("signer/wire/stale", Level.SHOULD, "practice: relays that store replay old requests")
async def stale(signer: SignerKit) -> None:
    """A request of yesterday is not carried out. Sent: sign_event of a day ago."""
    client = await signer.paired()
    value = {"id": "stale", "method": "sign_event", "params": [json.dumps(template())]}
    await client.send(value, created_at=int(time.time()) - 86_400)
    await client.settled()
    signed = [a for a in await client.came() if a.value.get("id") == "stale" and not a.error]
    expect(not signed, "a request of yesterday was signed")


@case("signer/wire/replay", Level.SHOULD, "practice: the same event comes by two relays")
async def replay(signer: SignerKit) -> None:
    """One event is one request. Sent: the same sign_event, the same event, three times."""
    client = await signer.paired()
    value = {"id": "replay", "method": "sign_event", "params": [json.dumps(template())]}
    event = await client.send(value)
    first = (await client.answer("replay")).result
    for _ in range(2):
        await client.peer.send("EVENT", event)
    await client.settled()
    results = {a.value.get("result") for a in await client.came() if a.value.get("id") == "replay"}
    expect(results <= {first}, f"signed {len(results | {first})} times")


@case("signer/wire/forged", Level.MUST, "NIP-01, Events and signatures")
async def forged(signer: SignerKit) -> None:
    """An event with a wrong signature is not carried out. Sent: sign_event, its sig changed."""
    client = await signer.paired()
    value = {"id": "forged", "method": "sign_event", "params": [json.dumps(template())]}
    await client.send(value, sig=note(client.key).sig)
    await client.settled()
    signed = [a for a in await client.came() if a.value.get("id") == "forged" and not a.error]
    expect(not signed, "signed for whoever can't sign as the client")


@case("signer/wire/garbage", Level.MUST, HARMLESS, keyless=True, alone=True)
async def garbage(signer: SignerKit) -> None:
    """Content that can't be decrypted harms nothing. Sent: garbage, then a ping."""
    client = await signer.paired()
    await client.send_content("AgAAAA==")
    await client.send_content("garbage?iv=garbage")
    await client.settled()


@case("signer/wire/not-json", Level.MUST, HARMLESS, keyless=True, alone=True)
async def not_json(signer: SignerKit) -> None:
    """Text that is not JSON harms nothing. Sent: `not json`, encrypted, then a ping."""
    client = await signer.paired()
    for text in ("not json", "[]", "7", "null", '{"id":"x"}'):
        await client.send(text)
    await client.settled()


@case("signer/wire/response-ignored", Level.SHOULD, HARMLESS, keyless=True)
async def response_ignored(signer: SignerKit) -> None:
    """A response is not answered: two signers would go on for ever. Sent: {"id","result"}."""
    client = await signer.paired()
    await client.send({"id": "looks-like-a-response", "result": "ack"})
    await client.settled()
    ours = [a for a in await client.came() if a.value.get("id") == "looks-like-a-response"]
    expect(not ours, f"answered with {ours[0].value if ours else ''}")


@case("signer/wire/no-params", Level.SHOULD, "practice: clients leave params out", keyless=True)
async def no_params(signer: SignerKit) -> None:
    """A request without params is answered. Sent: {"id","method":"ping"}."""
    client = await signer.paired()
    await client.send({"id": "no-params", "method": "ping"})
    await client.answer("no-params")


@case("signer/wire/extra-fields", Level.SHOULD, "practice: JSON-RPC libraries add fields",
      keyless=True)  # fmt: skip
async def extra_fields(signer: SignerKit) -> None:
    """Fields that NIP-46 does not know are ignored. Sent: ping with "jsonrpc" and "v"."""
    client = await signer.paired()
    value = {"jsonrpc": "2.0", "v": 1, "id": "extra", "method": "ping", "params": []}
    await client.send(value)
    expect((await client.answer("extra")).result == "pong", "not pong")


@case("signer/wire/burst-50", Level.SHOULD, "practice: an app that opens opens many messages",
      keyless=True, alone=True)  # fmt: skip
async def burst_50(signer: SignerKit) -> None:
    """50 requests at once are all answered. Sent: 50 pings without waiting."""
    client = await signer.paired()
    for number in range(50):
        await client.send({"id": f"burst-{number}", "method": "ping", "params": []})
    for number in range(50):
        answer = await client.answer(f"burst-{number}", f"answer to ping {number + 1} of 50")
        expect(answer.result == "pong", f"answered with {answer.value}")


@case("signer/wire/mixed", Level.MUST, "NIP-46, Response Events: the request ID")
async def mixed(signer: SignerKit) -> None:
    """Several at once are told apart by their ids. Sent: sign_event, ping, get_public_key."""
    client = await signer.paired()
    params = {"sign_event": [json.dumps(template())], "ping": [], "get_public_key": []}
    for method, values in params.items():
        await client.send({"id": f"mixed-{method}", "method": method, "params": values})
    expect((await client.answer("mixed-get_public_key")).result == client.user, "another pubkey")
    expect((await client.answer("mixed-ping")).result == "pong", "ping got another answer")
    expect("sig" in (await client.answer("mixed-sign_event")).result, "no signed event")


@case("signer/wire/nip04", Level.MAY, "practice: older apps speak NIP-04",
      keyless=True, alone=True)  # fmt: skip
async def encrypted_04(signer: SignerKit) -> None:
    """A request in NIP-04 is answered in NIP-04. Sent: ping [], encrypted with NIP-04."""
    try:
        answer = await (await signer.paired()).ask("ping", scheme=Scheme.NIP04)
    except Silence:
        raise NotOffered("reads NIP-44 alone") from None
    expect(answer.scheme is Scheme.NIP04, "answered in NIP-44, which its client can't read")
