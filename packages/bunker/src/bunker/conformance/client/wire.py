"""NIP-46, request events: how a client's requests look on the wire."""

import time

from bunker.conformance.case import Level, case, expect
from bunker.conformance.client.kit import ClientKit
from bunker_core.event import verify
from bunker_core.nips.channel import Scheme

REQUEST = "NIP-46, Request Events"


@case("client/wire/nip44", Level.MUST, f"{REQUEST}: nip44(<request>)")
async def nip44(client: ClientKit) -> None:
    """Requests are encrypted with NIP-44. Sent: a URI."""
    await client.login()
    wrong = [a.method for a in client.signer.asked if a.scheme is not Scheme.NIP44]
    expect(not wrong, f"{wrong} came in NIP-04")


@case("client/wire/p-tag", Level.MUST, REQUEST)
async def p_tag(client: ClientKit) -> None:
    """A request has one p tag, the remote signer's. Sent: a URI."""
    await client.login()
    for asked in client.signer.asked:
        tags = asked.event.tag_values("p")
        expect(tags == (client.signer.transport.pubkey,), f"{asked.method} has the p tags {tags}")


@case("client/wire/signature", Level.MUST, "NIP-01, Events and signatures")
async def signature(client: ClientKit) -> None:
    """Ids and signatures of requests hold. Sent: a URI."""
    await client.login()
    for asked in client.signer.asked:
        verify(asked.event)


@case("client/wire/id-text", Level.MUST, f"{REQUEST}: id is a random string")
async def id_text(client: ClientKit) -> None:
    """Request ids are texts. Sent: a URI."""
    await client.login()
    wrong = [a.id for a in client.signer.asked if not isinstance(a.id, str) or not a.id]
    expect(not wrong, f"ids are {wrong}")


@case("client/wire/id-unique", Level.MUST, f"{REQUEST}: id is a random string")
async def id_unique(client: ClientKit) -> None:
    """No two requests have one id. Sent: a URI, then two wishes to sign."""
    await client.login()
    await client.sign()
    await client.sign()
    contents = {(a.id, a.method, str(a.params)) for a in client.signer.asked}
    expect(len({item[0] for item in contents}) == len(contents), "an id was used twice")


@case("client/wire/params-texts", Level.MUST, f"{REQUEST}: array_of_strings")
async def params_texts(client: ClientKit) -> None:
    """Parameters are texts, the event of sign_event too. Sent: a URI, then a wish to sign."""
    await client.login()
    await client.sign()
    wrong = [
        asked.method
        for asked in client.signer.asked
        if not all(isinstance(item, str) for item in asked.params)
    ]
    expect(not wrong, f"{wrong} have parameters that are no texts")


@case("client/wire/created-at", Level.SHOULD, "practice: signers refuse what is old or ahead")
async def created_at(client: ClientKit) -> None:
    """created_at is now. Sent: a URI."""
    await client.login()
    off = [a.event.created_at - int(time.time()) for a in client.signer.asked]
    worst = max(off, key=abs)
    expect(abs(worst) <= 20, f"off by {worst} s")


@case("client/wire/listens-first", Level.SHOULD, "practice: an answer that comes at once is lost")
async def listens_first(client: ClientKit) -> None:
    """It is subscribed when its first request comes. Sent: a URI."""
    await client.login()
    expect(client.signer.asked[0].heard, "connect came before its subscription")


@case("client/wire/narrow", Level.SHOULD, 'practice: relays refuse {"kinds":[24133]} for all')
async def narrow(client: ClientKit) -> None:
    """It subscribes by kind and its own p tag. Sent: a URI."""
    await client.login()
    own = client.signer.asked[0].client
    for message in client.relay.received:
        if message[0] == "REQ":
            for item in message[2:]:
                if 24133 in item.get("kinds", [24133]):
                    expect(own in item.get("#p", []), f"it asks for {item}")


@case("client/wire/sign-template", Level.MUST, "NIP-46, Methods/Commands: sign_event")
async def sign_template(client: ClientKit) -> None:
    """What is signed is what was asked for. Sent: an event with quotes, an emoji and U+2028."""
    await client.login()
    await client.sign('"\\ \n\t äöü 🦊 \u2028')


@case("client/wire/large", Level.SHOULD, "practice: a follow list of 2,150 is 145 KB")
async def large(client: ClientKit) -> None:
    """An event of 145 KB is signed. Sent: a wish to sign kind 3 with 2,150 p tags."""
    await client.login()
    tags = [["p", f"{number:064x}"] for number in range(2_150)]
    event = await client.sign("", kind=3, tags=tags)
    expect(len(event.tags) == 2_150, "tags are missing")
