"""NIP-46, request ids: whatever a client takes for one comes back."""

import json
from typing import Any

from bunker.conformance.case import Level, NotOffered, Silence, case, expect
from bunker.conformance.signer.kit import SignerKit
from bunker.conformance.signer.methods import template

SAME = "NIP-46, Request Events: this same ID will be sent back"
SHAPES = "practice: ids of libraries"


async def echoes(signer: SignerKit, request_id: Any) -> None:
    """Ping with an id; it must come back as it is."""
    client = await signer.paired()
    await client.send({"id": request_id, "method": "ping", "params": []})
    await client.answer(request_id, f"response with the id {request_id!r}")


@case("signer/id/short", Level.MUST, SAME, keyless=True)
async def short(signer: SignerKit) -> None:
    """A short id comes back. Sent: ping with the id "02iow-1", as nostr-tools has it."""
    await echoes(signer, "02iow-1-k")


@case("signer/id/underscore", Level.MUST, f"{SAME} (nanoid)", keyless=True)
async def underscore(signer: SignerKit) -> None:
    """An id with _ and - comes back. Sent: ping with the id "V1_-StGX"."""
    await echoes(signer, "V1_-StGX")


@case("signer/id/decimal-text", Level.MUST, SAME, keyless=True)
async def decimal_text(signer: SignerKit) -> None:
    """An id of digits stays a text. Sent: ping with the id "815493278123456789"."""
    await echoes(signer, "815493278123456789")


@case("signer/id/uuid", Level.MUST, SAME, keyless=True)
async def uuid(signer: SignerKit) -> None:
    """A UUID comes back. Sent: ping with such an id."""
    await echoes(signer, "0b54ab5a-52f2-4a42-9f6c-6f5a2d9b1f8e")


@case("signer/id/64", Level.MUST, SAME, keyless=True)
async def of_64(signer: SignerKit) -> None:
    """An id of 64 characters comes back. Sent: ping with such an id."""
    await echoes(signer, "c0" * 32)


@case("signer/id/unicode", Level.SHOULD, SAME, keyless=True)
async def unicode(signer: SignerKit) -> None:
    """An id of any characters comes back. Sent: ping with the id `fox "🦊"`."""
    await echoes(signer, 'fox "🦊"')


@case("signer/id/number", Level.MAY, SHAPES, keyless=True)
async def number(signer: SignerKit) -> None:
    """An id that is a number comes back as one. Sent: ping with the id 7001."""
    try:
        await echoes(signer, 7001)
    except Silence:
        raise NotOffered("answers no id that is a number") from None


@case("signer/id/two-clients", Level.MUST, SAME)
async def two_clients(signer: SignerKit) -> None:
    """Two clients may use one id. Sent: get_public_key with the id "1" from both."""
    one, two = await signer.paired(), await signer.fresh()
    for client in (one, two):
        await client.send({"id": "two-clients", "method": "get_public_key", "params": []})
    for client in (one, two):
        (await client.answer("two-clients")).result  # noqa: B018 -- raises when it is an error


@case("signer/id/used-again", Level.SHOULD, "practice: NDK's random ids collide")
async def used_again(signer: SignerKit) -> None:
    """A used id with another request gets its own answer. Sent: ping and sign_event, one id."""
    client = await signer.paired()
    await client.send({"id": "again", "method": "ping", "params": []})
    expect((await client.answer("again")).result == "pong", "ping was not answered with pong")
    params = [json.dumps(template())]
    await client.send({"id": "again", "method": "sign_event", "params": params})
    result = (await client.answer("again", "answer to the second request of one id")).result
    expect(result.startswith("{"), f"answered with {result[:60]!r}")


@case("signer/id/missing", Level.SHOULD, "practice: what can't be answered harms nobody",
      keyless=True)  # fmt: skip
async def missing(signer: SignerKit) -> None:
    """A request without an id harms nothing. Sent: {"method":"ping"}, then a ping."""
    client = await signer.paired()
    await client.send({"method": "ping", "params": []})
    await client.settled()
