"""What is not from the signer, and what the signer did not rightly do."""

import json
from collections.abc import Iterable
from typing import Any

from bunker.conformance.case import Level, case
from bunker.conformance.client.kit import ClientKit
from bunker.conformance.client.signer import Asked
from bunker_core.event import parse_template, sign_event
from bunker_core.keys import SecretKey

SIGNER = "NIP-46, Overview: the remote-signer pubkey is learned when connecting"
CHECK = "practice: an app publishes what it is given"
FORGED = '{"id":"%s","result":"error","error":"forged"}'


def before_the_answer(client: ClientKit, *forge: Any) -> None:
    """Have `forge` sent ahead of the true answer to sign_event."""

    def answer(asked: Asked) -> Iterable[Any]:
        async def both() -> None:
            for send in forge:
                await send(asked)
            await client.signer.send(asked.client, client.signer.good(asked))

        client.signer.soon(both())
        return []

    client.signer.on("sign_event", answer)


@case("client/forged/other-author", Level.MUST, SIGNER)
async def other_author(client: ClientKit) -> None:
    """An answer of another author is ignored. Sent: an error of another key, then the answer."""

    async def forge(asked: Asked) -> None:
        value = FORGED % asked.id
        await client.signer.send(asked.client, value, key=SecretKey.generate())

    before_the_answer(client, forge)
    await client.login()
    await client.sign()


@case("client/forged/signature", Level.MUST, "NIP-01, Events and signatures")
async def signature(client: ClientKit) -> None:
    """An event with a wrong signature is ignored. Sent: an error whose sig is zeros, then it."""

    async def forge(asked: Asked) -> None:
        await client.signer.send(asked.client, FORGED % asked.id, sig="0" * 128)

    before_the_answer(client, forge)
    await client.login()
    await client.sign()


@case("client/forged/garbage", Level.MUST, "practice: what can't be decrypted harms nothing")
async def garbage(client: ClientKit) -> None:
    """Content that can't be decrypted is ignored. Sent: garbage, then the answer."""

    async def forge(asked: Asked) -> None:
        for content in ("garbage", "AgAAAA==", "x?iv=y", ""):
            await client.signer.send(asked.client, FORGED % asked.id, content=content)

    before_the_answer(client, forge)
    await client.login()
    await client.sign()


@case("client/forged/not-json", Level.MUST, "practice: what can't be read harms nothing")
async def not_json(client: ClientKit) -> None:
    """Text that is not JSON is ignored. Sent: `not json`, [], 7 and null, then the answer."""

    async def forge(asked: Asked) -> None:
        for text in ("not json", "[]", "7", "null", "{}"):
            await client.signer.send(asked.client, text)

    before_the_answer(client, forge)
    await client.login()
    await client.sign()


async def signed_otherwise(client: ClientKit, key: SecretKey | None = None, **changes: Any) -> None:
    """Answer sign_event with another event than was asked for; the library must refuse it."""

    def answer(asked: Asked) -> Iterable[Any]:
        template = json.loads(asked.text(0)) | {
            name: value for name, value in changes.items() if name != "sig"
        }
        event = sign_event(parse_template(template), key or client.signer.user).to_dict()
        if "sig" in changes:
            event["sig"] = changes["sig"]
        return [{"id": asked.id, "result": json.dumps(event)}]

    client.signer.on("sign_event", answer)
    await client.login()
    await client.rejects(client.tell("sign", event=TEMPLATE))


TEMPLATE = {"kind": 1, "content": "asked for", "tags": [], "created_at": 1_800_000_000}


@case("client/signed/other-content", Level.SHOULD, CHECK)
async def other_content(client: ClientKit) -> None:
    """An event with another content is refused. Sent: a sound event that says something else."""
    await signed_otherwise(client, content="not asked for")


@case("client/signed/other-kind", Level.SHOULD, CHECK)
async def other_kind(client: ClientKit) -> None:
    """An event of another kind is refused. Sent: a sound event of kind 5."""
    await signed_otherwise(client, kind=5)


@case("client/signed/other-key", Level.SHOULD, CHECK)
async def other_key(client: ClientKit) -> None:
    """An event of another user is refused. Sent: a sound event of another key."""
    await signed_otherwise(client, key=SecretKey.generate())


@case("client/signed/broken", Level.SHOULD, CHECK)
async def broken(client: ClientKit) -> None:
    """An event whose signature does not hold is refused. Sent: sig of zeros."""
    await signed_otherwise(client, sig="0" * 128)
