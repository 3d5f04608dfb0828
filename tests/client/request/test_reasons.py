"""What a request that is not answered is told to wait for: the true reason, at any time-out."""

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import bunker_client
from bunker.harness import running_relay, running_signer
from bunker_client import (
    ClientError,
    ConnectionEnded,
    InvalidReply,
    InvalidRequest,
    InvalidURI,
    RemoteSigner,
    RequestTimeout,
    RequestTooLarge,
    SignerLocked,
    SyncRemoteSigner,
    WaitingForApproval,
)
from bunker_client.errors import PairingFailed
from bunker_core.event import parse_template, sign_event
from bunker_signer.control.protocol import send
from support.scripted import Asked, Message, Peer, scripted_relay, scripted_signer

NOTE = {"kind": 1, "content": "hello", "created_at": 1_700_000_000}
LONG = 10.0  # seconds; a step that takes that long has failed
SHORT = 0.8  # seconds; many round trips on this machine, and far below the first pause for a person


def answers_only(signer: Any, *methods: str, ping: str = "pong") -> None:
    """Have a scripted signer be silent to all but `methods` and ping."""

    def answer(asked: Asked) -> Iterable[Any]:
        if asked.method == "ping":
            return [{"id": asked.id, "result": ping}]
        return [signer.good(asked)] if asked.method in methods else []

    signer.answer = answer


@pytest.mark.parametrize("answer", [{"result": None}, {}, {"result": "", "error": None}])
async def test_an_encryption_without_a_result_is_no_empty_text(answer: dict[str, Any]) -> None:
    """An app would publish "" in the place of its list. What was decrypted may well be empty."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        signer.answer = lambda asked: [{"id": asked.id, **answer}]
        for method in (app.nip44_encrypt, app.nip04_encrypt):
            with pytest.raises(InvalidReply, match="encrypt: the signer answered without a result"):
                await method(signer.user.pubkey, "text")
        if answer.get("result") == "":
            assert await app.nip44_decrypt(signer.user.pubkey, "x") == ""
        else:
            with pytest.raises(InvalidReply, match="decrypt: the signer answered without a result"):
                await app.nip44_decrypt(signer.user.pubkey, "x")


async def test_a_short_timeout_says_that_the_owner_is_asked() -> None:
    """WaitingForApproval at any time-out that is longer than a round trip."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        answers_only(signer)
        with pytest.raises(WaitingForApproval, match=r"waits to be approved at the signer$"):
            await app.request_signature(NOTE, timeout=SHORT)


@pytest.mark.parametrize("state", ["locked", "paused"])
async def test_a_locked_key_is_told_as_that(state: str) -> None:
    """A signer that says so when it is asked: SignerLocked, at a short time-out too."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        answers_only(signer, ping=state)
        with pytest.raises(SignerLocked, match="was not unlocked"):
            await app.request_signature(NOTE, timeout=SHORT)


async def test_a_signer_that_is_silent_to_a_method_may_not_know_it() -> None:
    """A method that was never answered: approval, or the signer does not know it."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        answers_only(signer, "nip44_encrypt")
        peer = signer.user.pubkey
        with pytest.raises(WaitingForApproval, match="or the signer does not know nip04_encrypt"):
            await app.nip04_encrypt(peer, "x", timeout=SHORT)
        await app.nip44_encrypt(peer, "x")
        answers_only(signer)
        with pytest.raises(WaitingForApproval, match=r"approved at the signer$"):
            await app.nip44_encrypt(peer, "x", timeout=SHORT)


async def test_a_signer_without_switch_relays_costs_no_time() -> None:
    """Silence to an optional method keeps nobody from signing."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        answers_only(signer, "connect", "get_public_key", "sign_event")
        async with RemoteSigner.from_uri(signer.uri, timeout=LONG) as app:
            assert (await app.sign_event(NOTE)).kind == 1
            assert not app._relays_known.is_set()


async def test_after_the_end_a_call_says_so() -> None:
    """A closed signer is closed, and not one whose relays can't be reached."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        async with RemoteSigner.from_uri(signer.uri, timeout=LONG) as app:
            pass
        with pytest.raises(ConnectionEnded, match="is closed"):
            await app.sign_event(NOTE)


async def test_the_connection_is_closed_in_good_order() -> None:
    """An ordinary exit closes with 1000, not with 1011, an internal error."""
    peers: list[Peer] = []

    async def note(peer: Peer, _: Message) -> bool:
        if peer not in peers:
            peers.append(peer)
        return False

    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        relay.script = note
        async with RemoteSigner.from_uri(signer.uri, timeout=LONG):
            mine = peers[0]
        await asyncio.wait_for(mine.socket.wait_closed(), LONG)
        assert mine.socket.close_code == 1000


def test_what_the_caller_gets_wrong_is_of_the_same_tree() -> None:
    """InvalidURI and InvalidRequest are ClientErrors, and what bunker_core calls them as well."""
    for wrong in ("bunker://nobody?relay=wss://a.example", "nonsense"):
        with pytest.raises(ClientError):
            RemoteSigner.from_uri(wrong)
        with pytest.raises(InvalidURI):
            bunker_client.BunkerClient.from_uri(wrong)
    with pytest.raises(ClientError):
        bunker_client.BunkerClient.for_relay("http://a.example", "npub1wrong")


async def test_an_event_that_is_none_is_of_the_same_tree() -> None:
    """Half an emoji, an object without a kind: InvalidRequest, and nothing is sent."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        for wrong in ({"content": "x"}, {"kind": 1, "content": "\ud83d"}):
            with pytest.raises(InvalidRequest):
                await app.sign_event(wrong)
        assert "sign_event" not in signer.methods()


async def test_the_sync_signer_takes_the_same_arguments() -> None:
    """`timeout` works without asyncio too."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        answers_only(signer, "connect", "get_public_key", "switch_relays")

        def use() -> None:
            with SyncRemoteSigner.from_uri(signer.uri, timeout=LONG) as app:
                app.ping(timeout=LONG)
                with pytest.raises(WaitingForApproval):
                    app.sign_event(NOTE, timeout=SHORT)

        await asyncio.to_thread(use)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"created_at": 1_700_000_007}, "moved created_at by 7 s"),
        ({"content": "bye"}, "changed content$"),
        ({"content": "bye", "tags": [["t", "x"]]}, "changed content, tags$"),
    ],
)
async def test_an_event_that_differs_is_refused_with_the_fields(
    change: dict[str, Any], said: str
) -> None:
    """The error names what the signer changed; created_at alone can be accepted by choice."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:

        def answer(asked: Asked) -> Iterable[Any]:
            if asked.method != "sign_event":
                return [signer.good(asked)]
            event = sign_event(
                parse_template({**json.loads(asked.params[0]), **change}), signer.user
            )
            return [{"id": asked.id, "result": event.to_json().decode()}]

        signer.answer = answer
        async with RemoteSigner.from_uri(signer.uri, timeout=LONG) as app:
            with pytest.raises(InvalidReply, match=said):
                await app.sign_event(NOTE)
        lenient = RemoteSigner.from_uri(signer.uri, timeout=LONG, accept_created_at=True)
        async with lenient as app:
            if set(change) == {"created_at"}:
                assert (await app.sign_event(NOTE)).created_at == change["created_at"]
            else:
                with pytest.raises(InvalidReply, match=said):
                    await app.sign_event(NOTE)


@pytest.mark.parametrize("minutes", [20, -20])
async def test_a_clock_that_is_off_by_twenty_minutes(tmp_path: Path, minutes: int) -> None:
    """Answers arrive, and an event without a date gets the relays' time, not ours."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
        RemoteSigner.from_uri(
            signer.uri, timeout=LONG, clock=lambda: time.time() + 60 * minutes
        ) as app,
    ):
        event = await app.sign_event({"kind": 1, "content": "now"})
        assert abs(event.created_at - time.time()) < 60


async def test_a_clock_that_is_off_is_named_when_nobody_answers() -> None:
    """The text of a time-out says by how much this machine's clock is off the relays'."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = lambda _: []
        app = RemoteSigner.from_uri(
            signer.uri, timeout=SHORT, approval_timeout=0.0, clock=lambda: time.time() - 1200
        )
        with pytest.raises((RequestTimeout, PairingFailed), match=r"1(199|200|201) s behind"):
            await app.__aenter__()


async def test_our_signer_says_that_its_key_is_locked(tmp_path: Path) -> None:
    """What waits for the unlock at our signer ends as SignerLocked at a short time-out."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        await asyncio.to_thread(send, tmp_path / "signer", "lock", key="default")
        with pytest.raises(SignerLocked):
            await app.sign_event(NOTE, timeout=SHORT)
        await app.ping()  # without the parameter a ping is a ping


async def test_a_request_that_no_relay_takes_is_told_at_once(tmp_path: Path) -> None:
    """Larger than max_message_length: said before it is sent, and nobody else notices."""
    config = tmp_path / "relay.toml"
    config.write_text("[limits]\nmax_message_bytes = 65536\nmax_signing_bytes = 65536\n")
    limits = ["--config", str(config)]
    async with (
        running_relay(tmp_path / "relay", arguments=limits) as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        small = [asyncio.create_task(app.sign_event(NOTE)) for _ in range(8)]
        start = time.monotonic()
        with pytest.raises(RequestTooLarge, match=r"too large for the relay, \d+ of 65536 bytes"):
            await app.sign_event({**NOTE, "content": "x" * 70_000})
        assert time.monotonic() - start < LONG / 2
        assert {event.kind for event in await asyncio.gather(*small)} == {1}
        assert app._link.pool.status()[relay.url][1] is None  # the connection was never lost


async def test_what_can_not_be_encrypted_is_told_before_it_is_sent() -> None:
    """Empty, of the other scheme, no pubkey: InvalidRequest in words; 02 in front is taken."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        peer = signer.user.pubkey
        for call, said in (
            (app.nip44_encrypt(peer, ""), "is empty"),
            (app.nip44_decrypt(peer, "AAAA?iv=AAAA"), "nip04_decrypt"),
            (app.nip04_decrypt(peer, "AAAA"), "nip44_decrypt"),
            (app.nip44_encrypt("nobody", "x"), "not a bech32"),
        ):
            with pytest.raises(InvalidRequest, match=said):
                await call
        assert not {"nip44_encrypt", "nip44_decrypt", "nip04_decrypt"} & set(signer.methods())
        payload = await app.nip44_encrypt(f"02{peer}", "x")
        assert await app.nip44_decrypt(peer, payload + "\n") == "x"
