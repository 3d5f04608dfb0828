"""NIP-46, methods: each does what the table says."""

import json
import time
from typing import Any

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.signer.client import Client
from bunker.conformance.signer.kit import SignerKit
from bunker_core.event import VerifiedEvent, is_hex, parse_event_json, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip04, nip44

TABLE = "NIP-46, Methods/Commands"
SIGN = f"{TABLE}: sign_event"
LONG = "NIP-44, Encryption: the extended length prefix (2026-06)"


async def signed(client: Client, template: Any) -> VerifiedEvent:
    """Have an event signed and check it."""
    param = template if isinstance(template, str) else json.dumps(template)
    event = verify(parse_event_json((await client.ask("sign_event", param)).result))
    expect(event.pubkey == client.user, "signed by another key than get_public_key's")
    return event


def template(**changes: Any) -> dict[str, Any]:
    """Return a note to be signed."""
    now = int(time.time())
    return {"kind": 1, "content": "conformance", "tags": [["t", "x"]], "created_at": now} | changes


@case("signer/method/ping", Level.MUST, f"{TABLE}: ping", keyless=True)
async def ping(signer: SignerKit) -> None:
    """ping is answered with "pong". Sent: ping []."""
    result = (await (await signer.paired()).ask("ping")).result
    expect(result == "pong", f"answered with {result!r}")


@case("signer/method/get-public-key", Level.MUST, f"{TABLE}: get_public_key", keyless=True)
async def get_public_key(signer: SignerKit) -> None:
    """get_public_key gives 64 hex characters, always the same. Sent: twice."""
    client = await signer.paired()
    first = (await client.ask("get_public_key")).result
    expect(is_hex(first, 64), f"answered with {first!r}")
    expect((await client.ask("get_public_key")).result == first, "the second answer differs")


@case("signer/method/sign-event", Level.MUST, SIGN)
async def sign_event(signer: SignerKit) -> None:
    """sign_event gives the signed event as a text of JSON. Sent: a note of four fields."""
    await signed(await signer.paired(), template())


@case("signer/method/sign-event-unchanged", Level.MUST, SIGN)
async def sign_event_unchanged(signer: SignerKit) -> None:
    """Kind, content, tags and created_at are as asked for. Sent: a note of a minute ago."""
    asked = template(created_at=int(time.time()) - 60, tags=[["e", "0" * 64, "", "x"], ["t"]])
    event = (await signed(await signer.paired(), asked)).to_dict()
    for name, value in asked.items():
        got = event[name] if name != "tags" else [list(tag) for tag in event[name]]
        expect(got == value, f"{name} was changed")


@case("signer/method/sign-event-unicode", Level.MUST, SIGN)
async def sign_event_unicode(signer: SignerKit) -> None:
    """Every character is signed as it is. Sent: quotes, escapes, emoji, U+2028, U+007F."""
    text = '"\\/\b\f\n\r\t\x7f äöü \u2028 🦊 </script>'
    event = await signed(await signer.paired(), template(content=text))
    expect(event.content == text, "the content was changed")


@case("signer/method/sign-event-pubkey-id", Level.SHOULD, "practice: welshman sends pubkey and id")
async def sign_event_pubkey_id(signer: SignerKit) -> None:
    """A template with pubkey and id is signed. Sent: a note with the user's pubkey and an id."""
    client = await signer.paired()
    await signed(client, template(pubkey=client.user, id="0" * 64))


@case("signer/method/sign-event-object", Level.MAY, "practice: hand-made clients send an object")
async def sign_event_object(signer: SignerKit) -> None:
    """A template that is an object is signed or refused. Sent: params [{…}], not a text."""
    answer = await (await signer.paired()).ask("sign_event", template())
    if answer.error:
        raise NotOffered(f"takes text alone: {answer.error}")


@case("signer/method/sign-event-no-tags", Level.SHOULD, "practice: clients leave out what is empty")
async def sign_event_no_tags(signer: SignerKit) -> None:
    """A template without tags is signed or refused. Sent: {kind, content, created_at}."""
    asked = template()
    del asked["tags"]
    await (await signer.paired()).ask("sign_event", json.dumps(asked))


@case("signer/method/sign-event-other-pubkey", Level.SHOULD, "practice: nips#2431, nos2x-fox#37")
async def sign_event_other_pubkey(signer: SignerKit) -> None:
    """An event of another account is not signed as ours. Sent: a note with another pubkey."""
    asked = template(pubkey=SecretKey.generate().pubkey)
    answer = await (await signer.paired()).ask("sign_event", json.dumps(asked))
    answer.refused()


@case("signer/method/sign-event-large", Level.SHOULD, "practice: a follow list of 400")
async def sign_event_large(signer: SignerKit) -> None:
    """An event of 30 KB is signed. Sent: kind 3 with 400 p tags."""
    tags = [["p", f"{number:064x}"] for number in range(400)]
    event = await signed(await signer.paired(), template(kind=3, tags=tags))
    expect(len(event.tags) == 400, "tags are missing")


async def encrypts44(signer: SignerKit, text: str) -> None:
    client, other = await signer.paired(), SecretKey.generate()
    payload = (await client.ask("nip44_encrypt", other.pubkey, text)).result
    key = nip44.conversation_key(other.shared_x(client.user))
    expect(nip44.decrypt(payload, key) == text, "the peer reads another text")


async def decrypts44(signer: SignerKit, text: str) -> None:
    client, other = await signer.paired(), SecretKey.generate()
    payload = nip44.encrypt(text, nip44.conversation_key(other.shared_x(client.user)))
    result = (await client.ask("nip44_decrypt", other.pubkey, payload)).result
    expect(result == text, f"decrypted to {len(result)} other characters")


@case("signer/method/nip44-encrypt", Level.MUST, f"{TABLE}: nip44_encrypt")
async def nip44_encrypt(signer: SignerKit) -> None:
    """What nip44_encrypt gives is readable by the peer. Sent: nip44_encrypt [peer, "für 🦊"]."""
    await encrypts44(signer, "für 🦊")


@case("signer/method/nip44-decrypt", Level.MUST, f"{TABLE}: nip44_decrypt")
async def nip44_decrypt(signer: SignerKit) -> None:
    """nip44_decrypt gives the peer's text. Sent: nip44_decrypt [peer, payload]."""
    await decrypts44(signer, "für 🦊")


@case("signer/method/nip44-decrypt-json", Level.MUST, f"{TABLE}: the plaintext")
async def nip44_decrypt_json(signer: SignerKit) -> None:
    """A plaintext that looks like JSON stays a text. Sent: the payload of `["e","abc"]`."""
    await decrypts44(signer, '["e","abc"]')


@case("signer/method/nip44-encrypt-64k", Level.SHOULD, "NIP-44: up to 65,535 bytes")
async def nip44_encrypt_64k(signer: SignerKit) -> None:
    """The longest text of the short prefix is encrypted. Sent: nip44_encrypt of 65,000 bytes."""
    await encrypts44(signer, "x" * 65_000)


@case("signer/method/nip44-encrypt-66k", Level.SHOULD, LONG)
async def nip44_encrypt_66k(signer: SignerKit) -> None:
    """A text of 66,000 bytes is encrypted. Sent: nip44_encrypt [peer, 66,000 characters]."""
    await encrypts44(signer, "x" * 66_000)


@case("signer/method/nip44-decrypt-66k", Level.SHOULD, LONG)
async def nip44_decrypt_66k(signer: SignerKit) -> None:
    """A text of 66,000 bytes is decrypted. Sent: nip44_decrypt [peer, payload]."""
    await decrypts44(signer, "x" * 66_000)


@case("signer/method/nip04-encrypt", Level.MUST, f"{TABLE}: nip04_encrypt")
async def nip04_encrypt(signer: SignerKit) -> None:
    """What nip04_encrypt gives is readable by the peer. Sent: nip04_encrypt [peer, "für 🦊"]."""
    client, other = await signer.paired(), SecretKey.generate()
    payload = (await client.ask("nip04_encrypt", other.pubkey, "für 🦊")).result
    text = nip04.decrypt(payload, other.shared_x(client.user))
    expect(text == "für 🦊", "the peer reads another text")


@case("signer/method/nip04-decrypt", Level.MUST, f"{TABLE}: nip04_decrypt")
async def nip04_decrypt(signer: SignerKit) -> None:
    """nip04_decrypt gives the peer's text. Sent: nip04_decrypt [peer, payload]."""
    client, other = await signer.paired(), SecretKey.generate()
    payload = nip04.encrypt("für 🦊", other.shared_x(client.user))
    result = (await client.ask("nip04_decrypt", other.pubkey, payload)).result
    expect(result == "für 🦊", "decrypted to another text")


@case("signer/method/switch-relays", Level.SHOULD, "NIP-46, Switching relays", keyless=True)
async def switch_relays(signer: SignerKit) -> None:
    """switch_relays gives null or a list of URLs. Sent: switch_relays []."""
    answer = await (await signer.paired()).ask("switch_relays")
    if answer.error:
        raise NotOffered(f"knows no switch_relays: {answer.error}")
    value = answer.value.get("result")
    found = json.loads(value) if isinstance(value, str) else value
    expect(found is None or isinstance(found, list), f"answered with {value!r}")
    expect(all("://" in str(item) for item in found or ()), f"answered with {value!r}")


@case("signer/method/switch-relays-text", Level.SHOULD, "NIP-46, Response Events: a results string",
      keyless=True)  # fmt: skip
async def switch_relays_text(signer: SignerKit) -> None:
    """Its result is a text, "null" too: null makes nostr-tools wait. Sent: switch_relays []."""
    answer = await (await signer.paired()).ask("switch_relays")
    if answer.error:
        raise NotOffered(f"knows no switch_relays: {answer.error}")
    value = answer.value.get("result")
    expect(isinstance(value, str), f"the result is {value!r}, not a text")


@case("signer/logout/ack", Level.SHOULD, "NIP-46, Ending a session", keyless=True)
async def logout_ack(signer: SignerKit) -> None:
    """logout is answered with "ack". Sent: logout [] from a client of its own."""
    answer = await (await signer.fresh()).ask("logout")
    if answer.error:
        raise NotOffered(f"knows no logout: {answer.error}")
    expect(answer.result == "ack", f"answered with {answer.result!r}")


@case("signer/logout/ends", Level.SHOULD, "NIP-46, Ending a session: reject further requests")
async def logout_ends(signer: SignerKit) -> None:
    """After it nothing is signed. Sent: logout, then sign_event."""
    client = await signer.fresh()
    answer = await client.ask("logout")
    if answer.error:
        raise NotOffered(f"knows no logout: {answer.error}")
    refused = await client.ask("sign_event", json.dumps(template()))
    expect(refused.error, "signed after logout")
