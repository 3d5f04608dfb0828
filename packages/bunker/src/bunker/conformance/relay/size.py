"""How large a request may be: an encrypted mute list is 100 KB and more."""

from contextlib import suppress

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.relay.signing import pair
from bunker.conformance.wire.peer import request

NIP44 = "NIP-44, Encryption: a plaintext of 65,535 bytes is 87,472 characters"
FRAME = 1_000  # bytes of a frame beside the content


async def carries(relay: RelayKit, size: int) -> None:
    """Send a request of `size` characters through; fail with what stopped it."""
    signer, client, key = await pair(relay)
    event = request(relay.key(), key.pubkey, "x" * size)
    accepted, reason = await client.publish(event)
    expect(accepted, f"refused: {reason}")
    got = await signer.delivered("s")
    expect(got["content"] == event.content, "it came with another content")


@case("relay/size/16-kb", Level.MUST, "practice: a profile, encrypted")
async def kb_16(relay: RelayKit) -> None:
    """A request of 16 KB is carried. Sent: 16,000 characters."""
    await carries(relay, 16_000)


@case("relay/size/64-kb", Level.SHOULD, "practice: a follow list of 600, to be signed")
async def kb_64(relay: RelayKit) -> None:
    """A request of 64 KB is carried. Sent: 64,000 characters."""
    await carries(relay, 64_000)


@case("relay/size/88-kb", Level.SHOULD, NIP44)
async def kb_88(relay: RelayKit) -> None:
    """What NIP-44's short prefix allows is carried. Sent: 87,472 characters."""
    await carries(relay, 87_472)


@case("relay/size/128-kb", Level.SHOULD, "practice: a private mute list, to be encrypted")
async def kb_128(relay: RelayKit) -> None:
    """A request of 128 KB is carried. Sent: 128,000 characters."""
    await carries(relay, 128_000)


@case("relay/size/256-kb", Level.SHOULD, "practice: a follow list of 2,150, to be signed")
async def kb_256(relay: RelayKit) -> None:
    """A request of 260 KB is carried. Sent: 260,000 characters."""
    await carries(relay, 260_000)


@case("relay/size/512-kb", Level.MAY, "NIP-44: the extended length prefix")
async def kb_512(relay: RelayKit) -> None:
    """A request of 512 KB is carried. Sent: 512,000 characters."""
    await carries(relay, 512_000)


@case("relay/size/1-mb", Level.MAY, "NIP-44: the extended length prefix")
async def mb_1(relay: RelayKit) -> None:
    """A request of 1,000,000 characters is carried. Sent: one such request."""
    await carries(relay, 1_000_000)


@case("relay/size/limit-true", Level.SHOULD, "NIP-11, Server limitations: max_message_length")
async def limit_true(relay: RelayKit) -> None:
    """What fits max_message_length is carried. Sent: as much as it and max_content_length allow."""
    most = min(await relay.limitation("max_message_length"), 4_000_000) - FRAME
    with suppress(NotOffered):
        most = min(most, await relay.limitation("max_content_length"))
    expect(most > 1_000, f"max_message_length is {most + FRAME}")
    await carries(relay, most)


@case(
    "relay/size/too-large-is-said", Level.SHOULD, "practice: silence is taken for an absent signer"
)
async def too_large_is_said(relay: RelayKit) -> None:
    """A message above max_message_length is answered or closed on. Sent: twice the limit."""
    most = min(await relay.limitation("max_message_length"), 4_000_000)
    client = await relay.peer()
    event = request(relay.key(), relay.key().pubkey, "x" * (most * 2))
    try:
        await client.send("EVENT", event)  # may see the close before it has sent all
        message = await client.next("answer, or close with 1009")
    except Exception as error:
        rcvd = getattr(error, "rcvd", None)
        if rcvd is None:
            raise
        expect(rcvd.code in (1009, 1008), f"closed with {rcvd.code}, not with 1009")
        return
    expect(message[0] in ("OK", "NOTICE"), f"answered with {message[0]}")
    expect(message[0] != "OK" or message[2] is False, "accepted, against its own limit")


@case("relay/size/others-after", Level.SHOULD, "practice: one large request is one client's")
async def others_after(relay: RelayKit) -> None:
    """A large request harms no other connection. Sent: 4 MB on one, a request on another."""
    signer, client, key = await pair(relay)
    giant = await relay.peer("giant")
    try:
        await giant.send("EVENT", request(relay.key(), relay.key().pubkey, "x" * 4_000_000))
        await giant.next()
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the giant's
        giant.note(f"ended: {type(error).__name__}")
    event = request(relay.key(), key.pubkey)
    await client.publish(event)
    expect((await signer.delivered("s"))["id"] == event.id, "another event came")
