"""NIP-46, initiating a connection, from the client's end."""

import json

from bunker.conformance.case import Level, Silence, case, expect
from bunker.conformance.client.driver import Rejected
from bunker.conformance.client.kit import ClientKit
from bunker.conformance.client.signer import Asked
from bunker_core.keys import SecretKey

DIRECT = "NIP-46, Direct connection initiated by remote-signer"
INVITED = "NIP-46, Direct connection initiated by the client"
CONNECT = "NIP-46, Methods/Commands: connect"
SWITCH = "NIP-46, Switching relays"


@case("client/login/pairs", Level.MUST, DIRECT)
async def pairs(client: ClientKit) -> None:
    """It logs in by a bunker:// URI. Sent: "ack", the user's pubkey, "null" for switch_relays."""
    await client.login()


@case("client/login/secret", Level.MUST, CONNECT)
async def secret(client: ClientKit) -> None:
    """connect has the URI's secret in its second place. Sent: a URI with a secret."""
    await client.login()
    asked = await client.signer.request("connect", client.patience)
    expect(asked.text(1) == client.signer.secret, f"the second parameter is {asked.text(1)!r}")


@case("client/login/names-signer", Level.MUST, CONNECT)
async def names_signer(client: ClientKit) -> None:
    """connect has the remote-signer pubkey in its first place. Sent: a URI."""
    await client.login()
    asked = await client.signer.request("connect", client.patience)
    first = asked.text(0)
    expect(first == client.signer.transport.pubkey, f"the first parameter is {first!r}")


@case("client/login/metadata", Level.SHOULD, f"{DIRECT}: SHOULD include metadata")
async def metadata(client: ClientKit) -> None:
    """connect has metadata in its fourth place. Sent: a URI."""
    await client.login()
    asked = await client.signer.request("connect", client.patience)
    expect(asked.text(3), f"connect has {len(asked.params)} parameters")
    expect(isinstance(json.loads(asked.text(3)), dict), "it is no object of JSON")


@case("client/login/asks-user", Level.MUST, "NIP-46, Changes: must call get_public_key")
async def asks_user(client: ClientKit) -> None:
    """It asks for the user's pubkey after connect. Sent: a URI."""
    await client.login()
    await client.signer.request("get_public_key", client.patience)


@case("client/login/two-keys", Level.MUST, "NIP-46, Changes: remote-signer and user are two keys")
async def two_keys(client: ClientKit) -> None:
    """The user is who get_public_key says, not the signer of the URI. Sent: two keys."""
    user = await client.login()
    expect(user != client.signer.transport.pubkey, "it takes the remote signer for the user")
    expect(user == client.signer.user.pubkey, f"it takes {user} for the user")


@case("client/login/switch-relays", Level.SHOULD, SWITCH)
async def switch_relays(client: ClientKit) -> None:
    """It asks for the signer's relays once connected. Sent: a URI."""
    await client.login()
    await client.signer.request("switch_relays", client.patience)


@case("client/login/secret-as-answer", Level.MUST, f'{CONNECT}: "ack" OR the secret')
async def secret_as_answer(client: ClientKit) -> None:
    """The secret is as good an answer as "ack". Sent: connect answered with the secret."""
    signer = client.signer
    signer.on("connect", lambda asked: [{"id": asked.id, "result": signer.secret}])
    await client.login()


@case("client/login/refused", Level.MUST, "NIP-46, Response Events: its presence is an error")
async def refused(client: ClientKit) -> None:
    """A refusal ends the login with an error. Sent: connect answered with an error."""
    for method in ("connect", "get_public_key", "switch_relays"):
        client.signer.on(method, _refuse)
    await client.rejects(client.login())


def _refuse(asked: Asked) -> list[dict[str, object]]:
    return [{"id": asked.id, "result": "error", "error": "denied: the secret is used"}]


@case("client/login/silence", Level.SHOULD, "practice: a login that hangs with no reason")
async def silence(client: ClientKit) -> None:
    """A signer that is silent ends the login with an error in 40 s. Sent: nothing."""
    client.signer.on("connect", lambda _: [])
    await client.rejects(client.login(40))


async def switches(client: ClientKit, *answers: object, error: str | None = None) -> None:
    def answer(asked: Asked) -> list[dict[str, object]]:
        if error is not None:
            return [{"id": asked.id, "result": "error", "error": error}]
        return [{"id": asked.id, "result": item} for item in answers]

    client.signer.on("switch_relays", answer)
    await client.login(25)
    await client.sign()


@case("client/switch/null", Level.MUST, SWITCH)
async def switch_null(client: ClientKit) -> None:
    """null for an answer leaves all as it is. Sent: switch_relays answered with null."""
    await switches(client, None)


@case("client/switch/null-text", Level.MUST, SWITCH)
async def switch_null_text(client: ClientKit) -> None:
    """So does "null". Sent: switch_relays answered with the text "null"."""
    await switches(client, "null")


@case("client/switch/error", Level.SHOULD, "practice: older signers know no switch_relays")
async def switch_error(client: ClientKit) -> None:
    """An error is no reason to end the login. Sent: switch_relays answered with an error."""
    await switches(client, error="unsupported: unknown method")


@case("client/switch/silence", Level.SHOULD, "practice: nsec.app and go-nostr are silent to it")
async def switch_silence(client: ClientKit) -> None:
    """Silence is no reason either. Sent: switch_relays left without an answer."""
    await switches(client)


@case("client/switch/moves", Level.SHOULD, f"{SWITCH}: send further requests on the new relays")
async def switch_moves(client: ClientKit) -> None:
    """A new list is used from then on. Sent: switch_relays answered with another relay."""
    second = client.relays[1]
    client.signer.join(second)
    answer = json.dumps([second.url])
    client.signer.on("switch_relays", lambda asked: [{"id": asked.id, "result": answer}])
    await client.login(25)
    asked = await client.signer.request("switch_relays", client.patience)
    moved = await second.until(lambda: second.listens(asked.client), client.patience)
    expect(moved, "it does not listen on the new relay")
    await client.sign()
    last = client.signer.requests("sign_event")[-1]
    expect(last.relay == second.url, "the next request came by the old relay")


@case("client/invite/uri", Level.MUST, INVITED)
async def invite_uri(client: ClientKit) -> None:
    """Its URI has the client's pubkey, a relay and a secret. Sent: the wish for a URI."""
    uri = await client.invite()
    expect(uri.secret, "no secret")
    expect(uri.relays, "no relay")


@case("client/invite/name", Level.MAY, INVITED)
async def invite_name(client: ClientKit) -> None:
    """Its URI says who invites. Sent: the wish for a URI."""
    uri = await client.invite()
    expect(uri.metadata.name, "no name")


async def invited(client: ClientKit, *results: str | None) -> None:
    """Answer an invitation with `results`, None standing for its secret."""
    uri = await client.invite()
    client.trace.hide(uri.secret or "", "the client's secret")
    for number, result in enumerate(results):
        value = {"id": f"connect-{number}", "result": uri.secret if result is None else result}
        await client.signer.send(uri.client_pubkey, value)


@case("client/invite/pairs", Level.MUST, INVITED)
async def invite_pairs(client: ClientKit) -> None:
    """A response with the secret pairs; its author is the signer. Sent: the secret."""
    await invited(client, None)
    user = await client.paired()
    expect(user == client.signer.user.pubkey, f"it takes {user} for the user")


@case("client/invite/signs", Level.MUST, INVITED)
async def invite_signs(client: ClientKit) -> None:
    """After it, requests go to the response's author. Sent: the secret, then a wish to sign."""
    await invited(client, None)
    await client.paired()
    await client.sign()


async def not_by(client: ClientKit, result: str) -> None:
    """Answer with something else than the secret; it must not pair."""
    await invited(client, result)
    try:
        user = (await client.tell("paired", 3.0))["user"]
    except (Rejected, Silence):
        return
    expect(False, f"it paired all the same, as {user}")


@case("client/invite/wrong-secret", Level.MUST, f"{INVITED}: client MUST validate the secret")
async def invite_wrong_secret(client: ClientKit) -> None:
    """Another secret does not pair. Sent: a response with another text."""
    await not_by(client, SecretKey.generate().pubkey[:16])


@case("client/invite/ack", Level.MUST, f"{INVITED}: client MUST validate the secret")
async def invite_ack(client: ClientKit) -> None:
    """ "ack" does not pair: anyone could say it. Sent: a response "ack"."""
    await not_by(client, "ack")


@case("client/invite/after-wrong", Level.SHOULD, "practice: a stranger must not spoil a login")
async def invite_after_wrong(client: ClientKit) -> None:
    """After a wrong secret the right one pairs. Sent: another text, then the secret."""
    await invited(client, SecretKey.generate().pubkey[:16], None)
    await client.paired()
