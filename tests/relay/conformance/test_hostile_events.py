"""Events that are not what they say: OK false with a reason, and nothing comes of them."""

import json
import time
from hashlib import sha256
from typing import Any

import pytest

from bunker_core.event import EventTemplate, canonical, sign_event
from bunker_core.keys import SecretKey
from support.wire import Peer, RelayProcess, note

NOW = int(time.time())
Json = dict[str, Any]


async def _send(peer: Peer, event: Json | str) -> list[Any]:
    """Send an event as it is and return the answer."""
    text = event if isinstance(event, str) else json.dumps(event)
    return await peer.answer(f'["EVENT",{text}]')


def _plain(event: Any) -> Json:
    plain: Json = json.loads(event.to_json())
    return plain


async def _refused(peer: Peer, event: Json | str, event_id: str) -> str:
    """Send an event, check that it is refused by its id, and return the reason."""
    message = await _send(peer, event)
    assert message[:3] == ["OK", event_id, False]
    assert message[3].startswith("invalid:"), message[3]
    return str(message[3])


@pytest.mark.parametrize("kind", [1, 24133])
async def test_a_wrong_id_is_refused(peer: Peer, key: SecretKey, kind: int) -> None:
    """An id that is not the hash of the event is refused, and says so."""
    event = _plain(note(key, kind=kind)) | {"id": "0" * 64}
    assert "id" in await _refused(peer, event, "0" * 64)


@pytest.mark.parametrize("kind", [1, 24133])
async def test_a_wrong_signature_is_refused(peer: Peer, key: SecretKey, kind: int) -> None:
    """Zeros, a signature of another event and one by another key are refused."""
    event = note(key, "one", kind=kind)
    other = sign_event(
        EventTemplate(kind=kind, content="one", created_at=event.created_at), SecretKey.generate()
    )
    for sig in ("0" * 128, note(key, "two").sig, other.sig, "f" * 128):
        assert "signature" in await _refused(peer, _plain(event) | {"sig": sig}, event.id)


@pytest.mark.parametrize("pubkey", ["0" * 64, "f" * 64, "0" * 63 + "5"])
async def test_a_pubkey_off_the_curve_is_refused(peer: Peer, key: SecretKey, pubkey: str) -> None:
    """A pubkey that no private key has is refused without a stumble."""
    event_id = sha256(canonical(pubkey, NOW, 1, (), "")).hexdigest()
    event = {"id": event_id, "pubkey": pubkey, "created_at": NOW, "kind": 1, "tags": []}
    await _refused(peer, event | {"content": "", "sig": note(key).sig}, event_id)


BAD_HEX = ["A" * 64, "a" * 63, "a" * 65, "0x" + "a" * 62, "٣" * 64, "g" * 64, 5, None, ["a"]]


@pytest.mark.parametrize("value", BAD_HEX)
async def test_bad_hex_is_refused(peer: Peer, key: SecretKey, value: Any) -> None:
    """Hex is lower-case, exact and ASCII; without a good id there is nothing to name: NOTICE."""
    event = note(key)
    message = await _send(peer, _plain(event) | {"id": value})
    assert message[0] == "NOTICE"
    await _refused(peer, _plain(event) | {"pubkey": value}, event.id)
    sig = value * 2 if isinstance(value, str) else value
    await _refused(peer, _plain(event) | {"sig": sig}, event.id)


@pytest.mark.parametrize("kind", [-1, 65536, "1", 1.0, True, None, [1], 2**70])
async def test_a_bad_kind_is_refused(peer: Peer, key: SecretKey, kind: Any) -> None:
    """A kind is an integer from 0 to 65535; true is none, although Python counts with it."""
    event = note(key)
    await _refused(peer, _plain(event) | {"kind": kind}, event.id)


@pytest.mark.parametrize("created_at", [-1, "1700000000", True, None, 1.5, 2**63, 2**70, [1]])
async def test_a_bad_created_at_is_refused(peer: Peer, key: SecretKey, created_at: Any) -> None:
    """created_at is a whole number of seconds."""
    event = note(key)
    await _refused(peer, _plain(event) | {"created_at": created_at}, event.id)


async def test_numbers_that_json_has_not_are_refused(peer: Peer, key: SecretKey) -> None:
    """NaN, Infinity, 1e400 and 400 digits in an event are refused by its id."""
    event = note(key)
    text = json.dumps(_plain(event))
    for number in ("NaN", "Infinity", "-Infinity", "1e400", "9" * 400):
        changed = text.replace(f'"created_at": {event.created_at}', f'"created_at": {number}')
        assert changed != text
        await _refused(peer, changed, event.id)


@pytest.mark.parametrize(
    "tags", [None, {}, "x", [None], ["x"], [[1]], [[None]], [[{}]], [["t", ["x"]]], [["t", True]]]
)
async def test_bad_tags_are_refused(peer: Peer, key: SecretKey, tags: Any) -> None:
    """Tags are a list of lists of strings."""
    event = note(key)
    await _refused(peer, _plain(event) | {"tags": tags}, event.id)


@pytest.mark.parametrize("content", [None, 5, [], {}, True])
async def test_bad_content_is_refused(peer: Peer, key: SecretKey, content: Any) -> None:
    """Content is a string."""
    event = note(key)
    await _refused(peer, _plain(event) | {"content": content}, event.id)


@pytest.mark.parametrize("name", ["pubkey", "created_at", "kind", "tags", "content", "sig"])
async def test_a_missing_field_is_refused(peer: Peer, key: SecretKey, name: str) -> None:
    """All fields but the id can be missed by name."""
    event = _plain(note(key))
    del event[name]
    assert name in await _refused(peer, event, event["id"])


async def test_extra_fields_are_dropped(peer: Peer, key: SecretKey) -> None:
    """What NIP-01 does not name is ignored, and not passed on."""
    event = note(key)
    message = await _send(peer, _plain(event) | {"extra": "x", "ots": 1})
    assert message == ["OK", event.id, True, ""]
    (found,) = await peer.subscribe("s", {"ids": [event.id]})
    assert found == _plain(event)


async def test_the_last_of_two_equal_keys_counts(peer: Peer, key: SecretKey) -> None:
    """Of two fields of a name the last is read, checked and passed on."""
    event = note(key)
    text = json.dumps(_plain(event))
    good = text.replace('{"id":', '{"id": "%s", "id":' % ("0" * 64))
    assert await _send(peer, good) == ["OK", event.id, True, ""]
    bad = text[:-1] + ', "content": "another"}'
    assert "id" in await _refused(peer, bad, event.id)
    (found,) = await peer.subscribe("s", {"ids": [event.id]})
    assert found == _plain(event)


async def test_a_lone_surrogate_is_refused(peer: Peer, key: SecretKey) -> None:
    """A text without UTF-8 is no text: refused in content and tags."""
    event = note(key, "CONTENT", tags=(("t", "TAG"),))
    text = json.dumps(_plain(event))
    for word in ("CONTENT", "TAG"):
        await _refused(peer, text.replace(word, "\\ud800"), event.id)


async def test_nul_and_control_characters_are_text(peer: Peer, key: SecretKey) -> None:
    """U+0000 and other control characters are stored, found and returned as they came."""
    content = "".join(map(chr, range(0x20))) + "\x7f\u2028"
    event = note(key, content, tags=(("t", "a\x00b"), ("t", "a")))
    assert (await peer.publish(event))[0]
    (found,) = await peer.subscribe("s", {"authors": [key.pubkey], "#t": ["a\x00b"]})
    assert found == _plain(event)
    assert await peer.ids({"authors": [key.pubkey], "#t": ["a\x00"]}) == []


async def test_an_event_of_the_future_is_refused(
    peer: Peer, key: SecretKey, limitation: dict[str, int]
) -> None:
    """created_at may be ahead by what the document says, and no more."""
    ahead = limitation["created_at_upper_limit"]
    allowed = note(key, created_at=int(time.time()) + ahead - 5)
    assert (await peer.publish(allowed))[0]
    event = note(key, created_at=int(time.time()) + ahead + 60)
    assert "created_at" in await _refused(peer, _plain(event), event.id)


async def test_too_many_tags_are_refused(
    peer: Peer, key: SecretKey, limitation: dict[str, int]
) -> None:
    """The number of tags in the document is exact."""
    most = limitation["max_event_tags"]
    assert (await peer.publish(note(key, tags=(("t", "x"),) * most)))[0]
    event = note(key, tags=(("t", "x"),) * (most + 1))
    assert "large" in await _refused(peer, _plain(event), event.id)


async def test_too_long_content_is_refused(
    peer: Peer, key: SecretKey, limitation: dict[str, int]
) -> None:
    """The length of content in the document is exact, in characters."""
    most = limitation["max_content_length"]
    assert (await peer.publish(note(key, "x" * most)))[0]
    event = note(key, "x" * (most + 1))
    assert "large" in await _refused(peer, _plain(event), event.id)


async def test_an_expired_event_is_refused(peer: Peer, key: SecretKey) -> None:
    """NIP-40: an expiration in the past is refused, garbage in its place is ignored."""
    event = note(key, tags=(("expiration", str(NOW - 5)),))
    assert "expired" in await _refused(peer, _plain(event), event.id)
    for garbage in ("soon", "", "-1", "1e3", "٣", " 5"):
        assert (await peer.publish(note(key, tags=(("expiration", garbage),))))[0]
    kept = note(key, "kept", tags=(("expiration", str(NOW + 1000)),))
    assert (await peer.publish(kept))[0]
    assert await peer.ids({"ids": [kept.id]}) == [kept.id]


async def test_a_second_signature_is_a_duplicate_only_if_it_is_good(
    peer: Peer, other: Peer, key: SecretKey
) -> None:
    """The same id under another good signature is a duplicate; under a bad one it is refused."""
    for kind in (1, 20001):
        template = EventTemplate(kind=kind, created_at=NOW)
        one, two = sign_event(template, key), sign_event(template, key)
        assert one.sig != two.sig
        await peer.subscribe("s", {"ids": [one.id]})
        assert (await peer.publish(one))[0]
        accepted, reason = await other.publish(two)
        assert accepted
        assert reason.startswith("duplicate:")
        await _refused(other, _plain(one) | {"sig": "0" * 128}, one.id)
        assert len([m for m in await peer.unread() if m[0] == "EVENT"]) == 1
        await peer.send("CLOSE", "s")


async def test_hostile_events_leave_nothing(own: RelayProcess, key: SecretKey) -> None:
    """What was refused is neither found nor counted."""
    async with Peer(own.url) as peer:
        event = note(key)
        await _refused(peer, _plain(event) | {"sig": "0" * 128}, event.id)
        assert await peer.ids({"authors": [key.pubkey]}) == []


async def test_a_deletion_of_thousands_of_digits_harms_no_neighbour(
    peer: Peer, other: Peer, key: SecretKey
) -> None:
    """Python's int() raises at 4,301 digits: the notes of the same batch are saved all the same."""
    author = SecretKey.generate()
    notes = [note(author, f"{number}") for number in range(200)]
    digits = "9" * 4_301
    requests = []
    for number, event in enumerate(notes):
        if number % 10 == 0:
            tags = (("a", f"{digits}:{key.pubkey}:{number}"), ("k", digits))
            requests.append(note(key, kind=5, tags=tags))
            await peer.send("EVENT", requests[-1])
        await other.send("EVENT", event)
    for event in requests:
        await peer.ok(event.id)  # saved or refused: both are right
    assert {await other.ok(event.id) for event in notes} == {(True, "")}
    wanted = {"authors": [author.pubkey], "limit": 500}
    assert set(await other.ids(wanted)) == {event.id for event in notes}
