"""NIP-46, initiating a connection: connect by bunker://, and the answer to nostrconnect://."""

import json
from typing import Any
from urllib.parse import quote

from bunker.conformance.case import Level, NotOffered, NotRun, Outcome, Silence, case, expect
from bunker.conformance.signer.client import Client
from bunker.conformance.signer.kit import METADATA, PERMISSIONS, SignerKit
from bunker.conformance.signer.methods import template
from bunker.conformance.wire import rpc
from bunker.conformance.wire.rpc import Answer
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import BunkerURI

DIRECT = "NIP-46, Direct connection initiated by remote-signer"
INVITED = "NIP-46, Direct connection initiated by the client"
COMMANDS = "NIP-46, Methods/Commands: connect"


async def before(signer: SignerKit) -> tuple[Client, BunkerURI]:
    """Return a client that has not sent connect yet, and its unused URI."""
    uri = await signer.unused()
    await signer.heard(uri)
    return await signer.client(uri, SecretKey.generate()), uri


async def accepts(signer: SignerKit, *params: str, first: str | None = None) -> None:
    """Connect with the secret between `first` (the signer unless given) and `params`."""
    client, uri = await before(signer)
    first = client.signer if first is None else first
    answer = await client.ask("connect", first, uri.secret or "", *params)
    expect(answer.result in ("ack", uri.secret), f"answered with {answer.result!r}")
    key = (await client.ask("get_public_key")).result
    expect(len(key) == 64, "get_public_key gives no pubkey")


async def stays_out(signer: SignerKit, client: Client, secret: str) -> None:
    """Connect with a secret that must not pair, then ask for a signature: none may come."""
    params = [client.signer, secret]
    await client.send({"id": "connect", "method": "connect", "params": params})
    await client.send({"id": "sign", "method": "sign_event", "params": [json.dumps(template())]})
    await (await signer.paired()).settled()
    for answer in await client.came():
        expect(answer.error, f"it paired: {answer.value}")


@case("signer/connect/ack", Level.MUST, COMMANDS, keyless=True)
async def ack(signer: SignerKit) -> None:
    """The right secret is answered with "ack" or the secret. Sent: connect [signer, secret]."""
    client, uri = await before(signer)
    answer = await client.ask("connect", client.signer, uri.secret or "")
    expect(answer.result in ("ack", uri.secret), f"answered with {answer.result!r}")


@case("signer/connect/ack-is-ack", Level.SHOULD, "practice: NDK and older apps read nothing else",
      keyless=True)  # fmt: skip
async def ack_is_ack(signer: SignerKit) -> None:
    """By bunker:// the answer is "ack". Sent: connect [signer, secret]."""
    client, uri = await before(signer)
    answer = await client.ask("connect", client.signer, uri.secret or "")
    expect(answer.result == "ack", "answered with the secret")


@case("signer/connect/metadata", Level.MUST, "NIP-46, Client metadata", keyless=True)
async def metadata(signer: SignerKit) -> None:
    """Metadata in the fourth place is taken. Sent: connect [signer, secret, "", metadata]."""
    await accepts(signer, "", METADATA)


@case("signer/connect/empty-first", Level.SHOULD, "practice: NDK sends connect [\"\", secret]",
      keyless=True)  # fmt: skip
async def empty_first(signer: SignerKit) -> None:
    """The first parameter is no reason to refuse. Sent: connect ["", secret]."""
    await accepts(signer, first="")


@case("signer/connect/more-params", Level.SHOULD, "practice: connect has grown three times",
      keyless=True)  # fmt: skip
async def more_params(signer: SignerKit) -> None:
    """Parameters of a later NIP are ignored. Sent: connect with six parameters."""
    await accepts(signer, "", "", "later", "still later")


@case("signer/connect/strange-perms", Level.SHOULD, "NIP-46, Requested permissions", keyless=True)
async def strange_perms(signer: SignerKit) -> None:
    """Unknown permissions do not prevent pairing. Sent: perms "levitate:9,sign_event:x, ,"."""
    await accepts(signer, "levitate:9,sign_event:x, ,")


@case("signer/connect/broken-metadata", Level.SHOULD, "NIP-46: a display hint only", keyless=True)
async def broken_metadata(signer: SignerKit) -> None:
    """Metadata that can't be read does not prevent pairing. Sent: metadata `{"name":7`."""
    await accepts(signer, "", '{"name":7')


@case("signer/connect/wrong-secret", Level.MUST, DIRECT, keyless=True)
async def wrong_secret(signer: SignerKit) -> None:
    """A wrong secret does not pair. Sent: connect with another secret, then sign_event."""
    await stays_out(signer, await signer.stranger(), "0" * 16)


@case("signer/connect/wrong-secret-said", Level.MAY, "practice: silence is a spinner", keyless=True)
async def wrong_secret_said(signer: SignerKit) -> None:
    """A wrong secret is answered with an error. Sent: connect with another secret."""
    client = await signer.stranger()
    try:
        (await client.ask("connect", client.signer, "0" * 16)).refused()
    except Silence:
        raise NotOffered("is silent, as NIP-46 allows: SHOULD ignore") from None


@case("signer/connect/secret-once", Level.SHOULD, f"{DIRECT}: single successfully established")
async def secret_once(signer: SignerKit) -> None:
    """A used secret pairs nobody else. Sent: connect with a used secret from a second client."""
    known = await signer.target.paired()
    await stays_out(signer, await signer.stranger(), known.uri.secret or "")


@case("signer/connect/again", Level.SHOULD, "practice: apps send connect at every start",
      keyless=True)  # fmt: skip
async def again(signer: SignerKit) -> None:
    """A known client may connect again. Sent: connect with the secret of its own pairing."""
    client = await signer.paired()
    known = await signer.target.paired()
    answer = await client.ask("connect", client.signer, known.uri.secret or "")
    expect(answer.result in ("ack", known.uri.secret), f"answered with {answer.result!r}")


async def invited(signer: SignerKit, **more: str) -> tuple[Client, Answer, str]:
    """Invite a signer by nostrconnect://; return the client, the response and the secret."""
    relay = await signer.relay()
    key, secret = SecretKey.generate(), SecretKey.generate().pubkey[:16]
    peer = await signer.peer(relay.url)
    client = Client(peer, key, "")
    await client.listen()
    query = {"relay": relay.url, "secret": secret, "name": "conformance", "perms": PERMISSIONS}
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in {**query, **more}.items())
    await signer.accept(relay, f"nostrconnect://{key.pubkey}?{pairs}")
    peer.patience, before = 20.0, peer.patience
    message = await peer.until(lambda m: m[0] == "EVENT", "answer to nostrconnect://")
    peer.patience = before
    answer = rpc.answer(key, message[2])
    expect(answer is not None, "the response can't be decrypted with the client's key")
    assert answer is not None
    client.signer = answer.event.pubkey
    return client, answer, secret


@case("signer/nostrconnect/secret", Level.MUST, f"{INVITED}: secret MUST be returned", keyless=True)
async def secret_returned(signer: SignerKit) -> None:
    """The response's result is the secret. Sent: a nostrconnect:// URI with a secret."""
    _, answer, secret = await invited(signer)
    result: Any = answer.result
    if result != secret:  # some wrap it
        expect(secret in result, f"the result is {result!r}")
        expect(False, f"the secret is wrapped: {json.dumps(result)}")


@case("signer/nostrconnect/p-tag", Level.MUST, "NIP-46, Response Events", keyless=True)
async def p_tag(signer: SignerKit) -> None:
    """The response is tagged with the client's pubkey. Sent: a nostrconnect:// URI."""
    client, answer, _ = await invited(signer)
    expect(answer.event.tag_values("p") == (client.key.pubkey,), f"tags are {answer.event.tags}")


@case("signer/nostrconnect/serves", Level.MUST, INVITED)
async def serves(signer: SignerKit) -> None:
    """The pairing works at once. Sent: a nostrconnect:// URI, then get_public_key."""
    client, _, _ = await invited(signer)
    expect(len((await client.ask("get_public_key")).result) == 64, "no pubkey")


@case("signer/nostrconnect/older-metadata", Level.MAY, "practice: rust-nostr's metadata={json}",
      keyless=True)  # fmt: skip
async def older_metadata(signer: SignerKit) -> None:
    """The older form of metadata is taken. Sent: nostrconnect:// with metadata={json}."""
    try:
        await invited(signer, metadata='{"name":"older"}')
    except NotRun:
        raise
    except Outcome as error:
        raise NotOffered(f"takes no such URI: {error}") from error
