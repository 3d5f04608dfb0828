"""NIP-46, response events: what a client has to take, and what it has to make of it."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from bunker.conformance.case import Level, case, expect
from bunker.conformance.client.kit import ClientKit
from bunker.conformance.client.signer import Asked
from bunker_core.nips.channel import Scheme

RESPONSE = "NIP-46, Response Events"
AUTH = "NIP-46, Auth Challenges"


async def signs(client: ClientKit, **changes: Any) -> None:
    """Answer sign_event rightly, with `changes` to the response; it must be taken."""
    good = client.signer.good
    client.signer.on("sign_event", lambda asked: [good(asked) | changes])
    await client.login()
    await client.sign()


@case("client/answer/late", Level.MUST, "practice: a person takes seconds to agree")
async def late(client: ClientKit) -> None:
    """An answer that takes 4 s is taken. Sent: sign_event answered after 4 s."""

    def answer(asked: Asked) -> Iterable[Any]:
        client.signer.later(4.0, asked.client, client.signer.good(asked))
        return []

    client.signer.on("sign_event", answer)
    await client.login()
    await client.sign()


@case("client/answer/out-of-order", Level.MUST, f"{RESPONSE}: the request ID")
async def out_of_order(client: ClientKit) -> None:
    """Answers are told apart by their ids. Sent: two sign_event, the second answered first."""
    held: list[Asked] = []

    def answer(asked: Asked) -> Iterable[Any]:
        held.append(asked)
        if len(held) < 2:
            return []
        client.signer.later(0.2, held[0].client, client.signer.good(held[0]))
        return [client.signer.good(asked)]

    client.signer.on("sign_event", answer)
    await client.login()
    first, second = await asyncio.gather(client.sign("first"), client.sign("second"))
    expect((first.content, second.content) == ("first", "second"), "they were mixed up")


@case("client/answer/twice", Level.MUST, "practice: an answer comes by every relay")
async def twice(client: ClientKit) -> None:
    """An answer that comes twice is one. Sent: every answer to sign_event twice."""
    good = client.signer.good
    client.signer.on("sign_event", lambda asked: [good(asked), good(asked)])
    await client.login()
    await client.sign("one")
    await client.sign("two")


@case("client/answer/unknown-id", Level.MUST, f"{RESPONSE}: the request ID")
async def unknown_id(client: ClientKit) -> None:
    """An answer to nobody's request is ignored. Sent: one with another id before the true one."""
    good = client.signer.good
    client.signer.on("sign_event", lambda asked: [{"id": "nobody", "result": "x"}, good(asked)])
    await client.login()
    await client.sign()


@case("client/answer/extra-fields", Level.MUST, "practice: JSON-RPC libraries add fields")
async def extra_fields(client: ClientKit) -> None:
    """Unknown fields of a response are ignored. Sent: an answer with "jsonrpc" and "v"."""
    await signs(client, jsonrpc="2.0", v=1)


@case("client/answer/error-null", Level.SHOULD, "practice: signers that write every field")
async def error_null(client: ClientKit) -> None:
    """error: null beside a result is no error. Sent: sign_event answered so."""
    await signs(client, error=None)


@case("client/answer/error-empty", Level.SHOULD, "practice: signers that write every field")
async def error_empty(client: ClientKit) -> None:
    """error: "" beside a result is no error. Sent: sign_event answered so."""
    await signs(client, error="")


@case("client/answer/result-object", Level.MAY, "practice: signers that send the event as it is")
async def result_object(client: ClientKit) -> None:
    """A signed event that is no text is taken or refused. Sent: an object for a result."""

    def answer(asked: Asked) -> Iterable[Any]:
        good = client.signer.good(asked)
        return [good | {"result": json.loads(good["result"])}]

    client.signer.on("sign_event", answer)
    await client.login()
    await client.sign()


@case("client/answer/clock-behind", Level.SHOULD, "practice: a signer's clock is behind")
async def clock_behind(client: ClientKit) -> None:
    """An answer dated 5 s before its request is taken. Sent: such answers."""
    client.signer.skew = -5
    await client.login()
    await client.sign()


@case("client/answer/clock-ahead", Level.SHOULD, "practice: a signer's clock is ahead")
async def clock_ahead(client: ClientKit) -> None:
    """An answer dated 30 s ahead is taken. Sent: such answers."""
    client.signer.skew = 30
    await client.login()
    await client.sign()


@case("client/answer/in-nip04", Level.MAY, "practice: older signers answer in NIP-04")
async def in_nip04(client: ClientKit) -> None:
    """An answer in NIP-04 is read. Sent: all answers encrypted with NIP-04."""
    client.signer.scheme = Scheme.NIP04
    await client.login()


@case("client/answer/empty-text", Level.SHOULD, f"{RESPONSE}: a results string")
async def empty_text(client: ClientKit) -> None:
    """An empty text is a result. Sent: nip44_decrypt answered with ""."""
    client.signer.on("nip44_decrypt", lambda asked: [{"id": asked.id, "result": ""}])
    await client.login()
    text = await client.decrypt("x")
    expect(text == "", f"it gives {text!r}")


@case("client/answer/json-text", Level.MUST, f"{RESPONSE}: a results string")
async def json_text(client: ClientKit) -> None:
    """A text that looks like JSON stays a text. Sent: nip44_decrypt of `["e","abc"]`."""
    await client.login()
    text = await client.decrypt('["e","abc"]')
    expect(text == '["e","abc"]', f"it gives {text!r}")


@case("client/answer/encrypts", Level.MUST, "NIP-46, Methods/Commands: nip44_encrypt")
async def encrypts(client: ClientKit) -> None:
    """nip44_encrypt goes to the signer and back. Sent: a text to encrypt."""
    await client.login()
    expect(await client.encrypt("für 🦊") == "für 🦊", "the third party reads another text")


@case("client/answer/66-kb", Level.SHOULD, "NIP-44: the extended length prefix (2026-06)")
async def kb_66(client: ClientKit) -> None:
    """A text of 66,000 characters is decrypted. Sent: a payload of that length."""
    await client.login()
    text = await client.decrypt("x" * 66_000)
    expect(len(text) == 66_000, f"it gives {len(text)} characters")


async def challenged(client: ClientKit, *, shown: bool) -> None:
    """Send the user to a page first, and answer once it is shown, or after a second."""

    page = f"https://signer.example/agree?client={client.name}"

    def answer(asked: Asked) -> Iterable[Any]:
        if not shown:
            client.signer.later(1.0, asked.client, client.signer.good(asked))
        return [{"id": asked.id, "result": "auth_url", "error": page}]

    client.signer.on("sign_event", answer)
    await client.login()
    if shown:
        signing = asyncio.create_task(client.sign())
        try:
            url = await client.target.driver.auth_url(client.name, client.patience)
            expect(url == page, f"it shows {url!r}")
        finally:
            signing.cancel()
            await asyncio.gather(signing, return_exceptions=True)
        return
    await client.sign()


@case("client/auth-url/goes-on", Level.SHOULD, f"{AUTH}: listen for another response")
async def auth_goes_on(client: ClientKit) -> None:
    """After an auth challenge the true answer is taken. Sent: auth_url, later the event."""
    await challenged(client, shown=False)


@case("client/auth-url/shown", Level.SHOULD, f"{AUTH}: client should display the URL")
async def auth_shown(client: ClientKit) -> None:
    """The app learns the page's address. Sent: auth_url."""
    await challenged(client, shown=True)
