"""NIP-46, errors: what can't be done is answered, in a form that libraries read."""

import json
from typing import Any

from bunker.conformance.case import Level, NotOffered, Silence, case, expect
from bunker.conformance.signer.kit import SignerKit
from bunker.conformance.signer.methods import template
from bunker.conformance.wire.rpc import Answer
from bunker_core.keys import SecretKey

UNKNOWN = "NIP-46: unknown or unsupported methods MUST be replied with an error"
ERROR = "NIP-46, Response Events: an error in string form"
SILENCE = "practice: silence is a spinner; an error is a sentence"


async def refused(signer: SignerKit, method: str, *params: Any) -> Answer:
    """Ask for what can't be done; return the refusal."""
    answer = await (await signer.paired()).ask(method, *params)
    answer.refused()
    return answer


@case("signer/error/unknown-method", Level.MUST, UNKNOWN, keyless=True)
async def unknown_method(signer: SignerKit) -> None:
    """An unknown method gets an error. Sent: levitate []."""
    await refused(signer, "levitate")


@case("signer/error/get-relays", Level.MUST, UNKNOWN, keyless=True)
async def get_relays(signer: SignerKit) -> None:
    """A method that was dropped is answered. Sent: get_relays []."""
    await (await signer.paired()).ask("get_relays")


@case("signer/error/create-account", Level.MUST, UNKNOWN, keyless=True)
async def create_account(signer: SignerKit) -> None:
    """A method that moved to another NIP is answered. Sent: create_account ["x","y","",""]."""
    await (await signer.paired()).ask("create_account", "x", "example.com", "", "")


@case("signer/error/method-case", Level.MUST, UNKNOWN, keyless=True)
async def method_case(signer: SignerKit) -> None:
    """PING is no method. Sent: PING []."""
    await refused(signer, "PING")


@case("signer/error/is-text", Level.MUST, ERROR, keyless=True)
async def is_text(signer: SignerKit) -> None:
    """The error is a text that is not empty. Sent: levitate []."""
    text = (await refused(signer, "levitate")).refused()
    expect(text.strip(), "the error is empty")


@case("signer/error/has-result", Level.SHOULD, "practice: nostrify and snstr need a result text",
      keyless=True)  # fmt: skip
async def has_result(signer: SignerKit) -> None:
    """Beside an error there is a result, a text. Sent: levitate []."""
    value = (await refused(signer, "levitate")).value
    expect(isinstance(value.get("result"), str), f"result is {value.get('result', 'missing')!r}")
    expect(value["result"] != "", 'result is "": rust-nostr reads it as broken JSON')


@case("signer/error/none-beside-success", Level.SHOULD, "practice: nostrify and snstr, error: null",
      keyless=True)  # fmt: skip
async def none_beside_success(signer: SignerKit) -> None:
    """A success has no error, not even null. Sent: ping []."""
    value = (await (await signer.paired()).ask("ping")).value
    expect("error" not in value, f"error is {value.get('error')!r}")


@case("signer/error/broken-json", Level.SHOULD, SILENCE)
async def broken_json(signer: SignerKit) -> None:
    """An event that is no JSON is refused. Sent: sign_event ["{kind:1"]."""
    await refused(signer, "sign_event", "{kind:1")


@case("signer/error/no-params", Level.SHOULD, SILENCE)
async def no_params(signer: SignerKit) -> None:
    """Missing parameters are refused. Sent: sign_event []."""
    await refused(signer, "sign_event")


@case("signer/error/kind-text", Level.SHOULD, SILENCE)
async def kind_text(signer: SignerKit) -> None:
    """A kind that is no number is refused. Sent: sign_event of kind "one"."""
    await refused(signer, "sign_event", json.dumps(template(kind="one")))


@case("signer/error/kind-range", Level.SHOULD, "NIP-01: kind is between 0 and 65535")
async def kind_range(signer: SignerKit) -> None:
    """A kind above 65535 is refused. Sent: sign_event of kind 70000."""
    await refused(signer, "sign_event", json.dumps(template(kind=70_000)))


@case("signer/error/tags-no-list", Level.SHOULD, SILENCE)
async def tags_no_list(signer: SignerKit) -> None:
    """Tags that are no list are refused. Sent: sign_event with tags "x"."""
    await refused(signer, "sign_event", json.dumps(template(tags="x")))


@case("signer/error/peer", Level.SHOULD, SILENCE)
async def peer(signer: SignerKit) -> None:
    """A peer that is no pubkey is refused. Sent: nip44_encrypt ["peer", "x"]."""
    await refused(signer, "nip44_encrypt", "peer", "x")


@case("signer/error/peer-off-curve", Level.SHOULD, SILENCE)
async def peer_off_curve(signer: SignerKit) -> None:
    """A peer that is no point is refused. Sent: nip44_encrypt ["ff…", "x"]."""
    await refused(signer, "nip44_encrypt", "f" * 64, "x")


@case("signer/error/payload", Level.SHOULD, SILENCE)
async def payload(signer: SignerKit) -> None:
    """A payload that can't be decrypted is refused. Sent: nip44_decrypt [peer, "AAAA"]."""
    await refused(signer, "nip44_decrypt", SecretKey.generate().pubkey, "AAAA")


@case("signer/error/payload-04", Level.SHOULD, SILENCE)
async def payload_04(signer: SignerKit) -> None:
    """So it is by NIP-04. Sent: nip04_decrypt [peer, "AAAA?iv=AAAA"]."""
    await refused(signer, "nip04_decrypt", SecretKey.generate().pubkey, "AAAA?iv=AAAA")


@case("signer/error/half-emoji", Level.SHOULD, SILENCE)
async def half_emoji(signer: SignerKit) -> None:
    """Half a surrogate pair is answered. Sent: nip44_encrypt [peer, "\\ud800"]."""
    client = await signer.paired()
    peer_key = SecretKey.generate().pubkey
    await client.send(f'{{"id":"half","method":"nip44_encrypt","params":["{peer_key}","\\ud800"]}}')
    await client.answer("half", "answer to half an emoji")


@case("signer/error/denied", Level.SHOULD, SILENCE)
async def denied(signer: SignerKit) -> None:
    """What is not allowed is denied in words. Sent: sign_event of kind 7, not asked for."""
    answer = await (await signer.paired()).ask("sign_event", json.dumps(template(kind=7)))
    if not answer.error:
        raise NotOffered("allows everything")
    answer.refused()


@case("signer/error/stranger", Level.MAY, SILENCE)
async def stranger(signer: SignerKit) -> None:
    """Whoever is not paired is refused, not ignored. Sent: sign_event of an unknown client."""
    try:
        answer = await (await signer.stranger()).ask("sign_event", json.dumps(template()))
    except Silence:
        raise NotOffered("is silent to whoever is not paired") from None
    answer.refused()


@case("signer/error/stranger-unsigned", Level.MUST, "NIP-46, Initiating a connection")
async def stranger_unsigned(signer: SignerKit) -> None:
    """Nothing is signed for whoever is not paired. Sent: sign_event of an unknown client."""
    client = await signer.stranger()
    await client.send({"id": "s", "method": "sign_event", "params": [json.dumps(template())]})
    await (await signer.paired()).settled()
    for answer in await client.came():
        expect(answer.error, "signed for a stranger")
