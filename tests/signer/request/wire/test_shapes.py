"""Requests in all the shapes that client libraries give them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.channel import Scheme
from signer.request.support.rig import rig
from signer.request.wire._wire import EVERYTHING, signed

NOTE = {"kind": 1, "content": "hello", "tags": [["t", "nostr"]], "created_at": 1_700_000_000}


@pytest.mark.parametrize(
    "template",
    [
        {"kind": 1, "content": "hello", "tags": [], "created_at": 1_700_000_000},
        {"kind": 1},
        {"kind": 1, "content": None, "tags": None, "created_at": None},
        {"kind": 1, "content": "x", "pubkey": "", "id": "", "sig": ""},
        {"kind": 1, "content": "x", "id": "00" * 32, "sig": "11" * 64},
    ],
    ids=["four fields", "kind alone", "nulls", "empty", "foreign id"],
)
@pytest.mark.parametrize("as_object", [False, True], ids=["text", "object"])
async def test_template_shapes(
    relay_url: str, data: Path, template: dict[str, Any], as_object: bool
) -> None:
    """An event to sign is taken as text or object, with fields missing or to be overwritten."""
    async with rig(relay_url, data) as signer, signer.client("sign_event:1") as client:
        param: object = template if as_object else json.dumps(template)
        event = signed(await client.ask("sign_event", param))
        assert (event.kind, event.pubkey) == (1, signer.user)
        assert abs(event.created_at - (template.get("created_at") or time.time())) < 5


async def test_template_of_this_author_or_another(relay_url: str, data: Path) -> None:
    """The author that welshman and NDK add is checked: another's event is refused."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        mine = await client.ask("sign_event", json.dumps({**NOTE, "pubkey": signer.user}), rid="m")
        assert signed(mine).pubkey == signer.user
        theirs = await client.ask("sign_event", json.dumps({**NOTE, "pubkey": "ab" * 32}), rid="t")
        assert theirs.error.startswith("invalid: ")


@pytest.mark.parametrize(
    "param",
    ["", "{", "[]", "null", '{"kind":"1"}', '{"kind":-1}', '{"kind":1,"tags":[[1]]}', None, 7, []],
)
async def test_bad_templates(relay_url: str, data: Path, param: object) -> None:
    """What is no event is answered as invalid, whatever it is."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        assert (await client.ask("sign_event", param)).error.startswith("invalid: ")


@pytest.mark.parametrize(
    "params", [(), ("xyz", "text"), ("ab" * 32,), ("ff" * 32, "text"), (7, 8), ("", "")]
)
@pytest.mark.parametrize("method", ["nip44_decrypt", "nip04_decrypt", "nip44_encrypt"])
async def test_bad_parameters(
    relay_url: str, data: Path, method: str, params: tuple[object, ...]
) -> None:
    """Missing, malformed or off-curve parameters of encryption are answered as invalid."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        assert (await client.ask(method, *params)).error.startswith("invalid: ")


@pytest.mark.parametrize(
    "request_id",
    ["02iow-1", "gn-50765-2", "V1StGXR8_Z", "123456789012345678", "a" * 64, 7, 0, "", "é☃"],
)
async def test_ids_are_echoed(relay_url: str, data: Path, request_id: object) -> None:
    """A request id comes back as it was, numbers included."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        assert (await client.ask("ping", rid=request_id)).json == {
            "id": request_id,
            "result": "pong",
        }


async def test_params_may_be_missing(relay_url: str, data: Path) -> None:
    """ping, get_public_key and logout come without params, or with something else than a list."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        for number, text in enumerate(
            (
                '{"id":"%d","method":"ping"}',
                '{"id":"%d","method":"ping","params":null}',
                '{"id":"%d","method":"ping","params":{}}',
            )
        ):
            await client.publish(client.event(text % number))
            assert (await client.receive()).json == {"id": str(number), "result": "pong"}


@pytest.mark.parametrize("scheme", list(Scheme))
async def test_the_reply_uses_the_scheme_of_the_request(
    relay_url: str, data: Path, scheme: Scheme
) -> None:
    """A client that writes NIP-04 is answered in NIP-04."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        answer = await client.ask("ping", scheme=scheme)
        assert answer.json["result"] == "pong"
        assert answer.scheme is scheme


async def test_ids_that_collide_are_two_requests(relay_url: str, data: Path) -> None:
    """Libraries draw ids so short that they collide: the content tells requests apart."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        one = signed(await client.ask("sign_event", json.dumps(NOTE), rid="x"))
        two = signed(await client.ask("sign_event", json.dumps({**NOTE, "content": "2"}), rid="x"))
        assert (one.content, two.content) == ("hello", "2")


async def test_the_same_request_again_has_the_same_answer(relay_url: str, data: Path) -> None:
    """A client that repeats itself gets the signature it would have got, not a second one."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        first = await client.ask("sign_event", json.dumps(NOTE), created_at=int(time.time()) - 1)
        again = await client.ask("sign_event", json.dumps(NOTE))
        assert again.json == first.json
        assert again.event.id != first.event.id


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ({"kind": 1, "content": "x", "created_at": 1_700_000_000.9}, "x"),
        ({"kind": 1, "content": "x", "pubkey": "UPPER", "created_at": 1_700_000_000}, "x"),
    ],
)
async def test_what_is_taken_all_the_same(
    relay_url: str, data: Path, value: dict[str, Any], content: str
) -> None:
    """A date that was not rounded is floored, our own pubkey may be in capitals."""
    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:
        if "pubkey" in value:
            value = {**value, "pubkey": signer.user.upper()}
        answer = await client.ask("sign_event", json.dumps(value))
        event = signed(answer)
        assert (event.content, event.created_at) == (content, 1_700_000_000)


async def test_a_response_is_not_answered(relay_url: str, data: Path) -> None:
    """Two signers that answer each other's answers would never stop."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        await client.publish(client.event('{"id":"1","result":"pong"}'))
        await client.silence()


@pytest.mark.parametrize(
    ("text", "rid", "says"),
    [
        ('{"id":0.25,"method":"ping"}', 0.25, "invalid: id"),
        ('{"id":12345678901234567890123,"method":"ping"}', 12345678901234567890123, "invalid: "),
        ('{"id":null,"method":"ping"}', None, "invalid: id"),
        ('{"id":"' + "x" * 300 + '","method":"ping"}', "x" * 300, "invalid: id"),
        ('{"id":"a","method":"sign_event","params":[{"kind":1,"content":NaN}]}', "a", "invalid: "),
        ('\ufeff{"id":"a","method":"ping"}', "a", "invalid: "),
        (
            '{"id":"a","method":"nip44_encrypt","params":["PEER","\\ud83d"]}',
            "a",
            "invalid: message is not Unicode",
        ),
        (
            '{"id":"a","method":"sign_event","params":["{\\"kind\\":1,\\"content\\":\\"\\\\ud83d\\"}"]}',
            "a",
            "invalid: the event is not Unicode",
        ),
    ],
)
async def test_every_request_with_an_id_is_answered(
    relay_url: str, data: Path, text: str, rid: object, says: str
) -> None:
    """NIP-46: a client with a bug learns of it instead of waiting; a stranger learns nothing."""
    async with (
        rig(relay_url, data) as signer,
        signer.client() as client,
        signer.client(pair=False) as stranger,
    ):
        await client.publish(client.event(text))
        answer = await client.receive()
        assert answer.json["id"] == rid
        assert answer.error.startswith(says)
        await stranger.publish(stranger.event(text.replace('"method":"ping"', '"method":7')))
        assert (await client.ask("ping", rid="p")).json["result"] == "pong"


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("nip44_encrypt", ("PEER", ""), "invalid: the text is empty"),
        ("nip44_encrypt", ("PEER",), "invalid: the text is missing"),
        ("nip44_encrypt", ("PEER", 7), "invalid: the text is missing"),
        ("nip44_decrypt", ("PEER", " "), "invalid: there is nothing to decrypt"),
        ("nip44_decrypt", ("PEER", "aGk=?iv=aGk="), "invalid: this is a NIP-04 payload"),
        ("nip04_decrypt", ("PEER", "AgAA"), "invalid: this is no NIP-04 payload"),
    ],
)
async def test_what_is_wrong_with_a_text_is_named(
    relay_url: str, data: Path, method: str, params: tuple[object, ...], says: str
) -> None:
    """Not "decryption failed" for what can be told without the key."""
    peer = SecretKey.generate().pubkey
    async with rig(relay_url, data) as signer, signer.client(method) as client:
        answer = await client.ask(method, *(peer if item == "PEER" else item for item in params))
        assert answer.error.startswith(says)


async def test_a_peer_with_a_byte_in_front_and_a_payload_with_a_newline(
    relay_url: str, data: Path
) -> None:
    """Both are harmless, and taken."""
    peer = SecretKey.generate()
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        sealed = await client.ask("nip44_encrypt", "02" + peer.pubkey, "hi", rid="a")
        key = nip44.conversation_key(peer.shared_x(signer.user))
        assert nip44.decrypt(sealed.json["result"], key) == "hi"
        payload = sealed.json["result"] + "\n"
        opened = await client.ask("nip44_decrypt", "03" + peer.pubkey, payload, rid="b")
        assert opened.json["result"] == "hi"
