"""NIP-01, events: what a relay says of an event that it is sent."""

from typing import Any

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.wire.peer import Peer, note, request

OK = "NIP-01, From relay to client: OK"
EVENT = "NIP-01, Events and signatures"
PREFIXES = "NIP-01, From relay to client: machine-readable prefixes"


async def changed(relay: RelayKit, **fields: Any) -> tuple[bool, str]:
    """Send a request with `fields` changed after it was signed; return what OK says."""
    peer = await relay.peer()
    event = request(relay.key(), relay.key().pubkey).to_dict() | fields
    await peer.send("EVENT", event)
    message = await peer.until(lambda m: m[0] in ("OK", "NOTICE"), "OK")
    expect(message[0] == "OK", f"NOTICE {message[-1]!r} in place of OK: its sender goes on waiting")
    expect(message[1] == event["id"], "OK names another event")
    return message[2], message[3] if len(message) > 3 else ""


async def refused(relay: RelayKit, **fields: Any) -> None:
    accepted, reason = await changed(relay, **fields)
    expect(accepted is False, f"accepted: OK {accepted} {reason!r}")


@case("relay/event/ok", Level.MUST, OK)
async def ok(relay: RelayKit) -> None:
    """An EVENT is answered with OK, its id, a boolean and a text. Sent: a request."""
    peer = await relay.peer()
    event = request(relay.key(), relay.key().pubkey)
    await peer.send("EVENT", event)
    message = await peer.until(lambda m: m[0] == "OK", "OK")
    expect(len(message) == 4, f"OK has {len(message)} elements")
    expect(message[1] == event.id, "OK names another event")
    expect(isinstance(message[2], bool), "the third element is not a boolean")
    expect(isinstance(message[3], str), "the fourth element is not a text")


@case("relay/event/ephemeral-accepted", Level.SHOULD, "NIP-01, Kinds: ephemeral")
async def ephemeral_accepted(relay: RelayKit) -> None:
    """A sound event of kind 20001 is accepted from an unknown key. Sent: one such event."""
    peer = await relay.peer()
    accepted, reason = await peer.publish(note(relay.key(), kind=20001))
    if not accepted and reason.startswith(("restricted", "auth-required", "blocked")):
        raise NotOffered(f"carries what it is for alone: {reason}")
    expect(accepted, f"refused: {reason}")


@case("relay/event/wrong-id", Level.MUST, EVENT)
async def wrong_id(relay: RelayKit) -> None:
    """An event whose id is not its hash is refused. Sent: an event with another id."""
    await refused(relay, id="0" * 63 + "1")


@case("relay/event/wrong-signature", Level.MUST, EVENT)
async def wrong_signature(relay: RelayKit) -> None:
    """An event whose signature is of another event is refused. Sent: such an event."""
    await refused(relay, sig=note(relay.key()).to_dict()["sig"])


@case("relay/event/zero-signature", Level.MUST, EVENT)
async def zero_signature(relay: RelayKit) -> None:
    """A signature of zeros is refused. Sent: an event with sig "00…"."""
    await refused(relay, sig="0" * 128)


@case("relay/event/pubkey-off-curve", Level.MUST, EVENT)
async def pubkey_off_curve(relay: RelayKit) -> None:
    """A pubkey that is no point is refused. Sent: an event with pubkey "ff…"."""
    await refused(relay, pubkey="f" * 64)


@case("relay/event/kind-out-of-range", Level.MUST, EVENT)
async def kind_out_of_range(relay: RelayKit) -> None:
    """A kind above 65535 is refused. Sent: an event of kind 65536."""
    await refused(relay, kind=65536)


@case("relay/event/kind-is-text", Level.MUST, EVENT)
async def kind_is_text(relay: RelayKit) -> None:
    """A kind that is a text is refused. Sent: an event of kind "24133"."""
    await refused(relay, kind="24133")


@case("relay/event/tag-of-number", Level.MUST, EVENT)
async def tag_of_number(relay: RelayKit) -> None:
    """A tag that holds a number is refused. Sent: an event with the tag ["t", 1]."""
    await refused(relay, tags=[["t", 1]])


@case("relay/event/missing-signature", Level.MUST, EVENT)
async def missing_signature(relay: RelayKit) -> None:
    """An event without sig is not accepted. Sent: an event without it."""
    peer = await relay.peer()
    event = request(relay.key(), relay.key().pubkey).to_dict()
    del event["sig"]
    await peer.send("EVENT", event)
    message = await peer.next()
    expect(message[0] in ("OK", "NOTICE"), f"answered with {message[0]}")
    expect(message[0] != "OK" or message[2] is False, "accepted")


@case("relay/event/refusal-has-prefix", Level.MUST, PREFIXES)
async def refusal_has_prefix(relay: RelayKit) -> None:
    """A refusal begins with a single word and a colon. Sent: an event with a wrong signature."""
    accepted, reason = await changed(relay, sig="0" * 128)
    expect(accepted is False, "accepted")
    word, colon, rest = reason.partition(":")
    expect(colon and word and " " not in word and rest.strip(), f"the reason is {reason!r}")


@case("relay/event/refusal-says-invalid", Level.SHOULD, PREFIXES)
async def refusal_says_invalid(relay: RelayKit) -> None:
    """What is broken is refused as `invalid:`. Sent: an event with a wrong signature."""
    accepted, reason = await changed(relay, sig="0" * 128)
    expect(accepted is False, "accepted")
    expect(reason.startswith("invalid:"), f"the reason is {reason!r}")


@case("relay/event/unicode-content", Level.MUST, EVENT)
async def unicode_content(relay: RelayKit) -> None:
    """Every character hashes as it is written. Sent: quotes, escapes, emoji, U+2028, DEL."""
    await accepts(relay, '"\\/\b\f\n\r\t\x7f äöü \u2028 🦊 <&>')


@case("relay/event/control-characters", Level.SHOULD, EVENT)
async def control_characters(relay: RelayKit) -> None:
    """Control characters, escaped as JSON must, are accepted. Sent: U+0001 and U+001F."""
    await accepts(relay, "\x01\x1f")


async def accepts(relay: RelayKit, content: str) -> None:
    peer = await relay.peer()
    accepted, reason = await peer.publish(request(relay.key(), relay.key().pubkey, content))
    expect(accepted or reason.startswith("mute:"), f"refused: {reason}")


@case("relay/event/extra-fields", Level.SHOULD, "practice: clients hang fields on their events")
async def extra_fields(relay: RelayKit) -> None:
    """A field that NIP-01 does not know is no reason to refuse. Sent: an event with "seen": []."""
    accepted, reason = await changed(relay, seen=[])
    expect(accepted or reason.startswith("mute:"), f"refused: {reason}")


async def stored(relay: RelayKit, peer: Peer) -> Any:
    """Publish a note (kind 1) that the relay stores; raises NotOffered when it takes none."""
    event = note(relay.key(), "a note")
    accepted, reason = await peer.publish(event)
    if not accepted:
        raise NotOffered(f"stores no notes: {reason}")
    return event


@case("relay/event/stored", Level.SHOULD, "NIP-01, Kinds: regular")
async def stored_event(relay: RelayKit) -> None:
    """A note is there for whoever asks later. Sent: EVENT of kind 1, then REQ for its id."""
    peer = await relay.peer()
    event = await stored(relay, peer)
    found = await (await relay.peer("reader")).subscribe("s", {"ids": [event.id]})
    expect([item["id"] for item in found] == [event.id], f"{len(found)} events came")


@case("relay/event/duplicate", Level.SHOULD, PREFIXES)
async def duplicate(relay: RelayKit) -> None:
    """An event that is there already is OK true. Sent: the same note twice."""
    peer = await relay.peer()
    event = await stored(relay, peer)
    accepted, reason = await peer.publish(event)
    expect(accepted, f"OK false {reason!r}")
