"""remote_signer.py: the methods of NIP-46, against our signer and against every other shape."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import (
    ClientError,
    InvalidReply,
    PairingFailed,
    RemoteSigner,
    RequestDenied,
)
from bunker_core.errors import InvalidEvent, InvalidURI
from bunker_core.event import EventTemplate, sign_event
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip46 import ClientMetadata, Permission
from bunker_core.nips.relay_url import parse_relay_url
from support.scripted import Asked, Message, Peer, ScriptedSigner, scripted_relay, scripted_signer
from support.strategies import secret_key

NOW = 1_700_000_000
LONG = 10.0  # seconds; a step that takes that long has failed
NOTE = {"kind": 1, "content": "hello", "tags": [["t", "x"]], "created_at": NOW}

Shape = Callable[[Asked, ScriptedSigner], Iterable[Any]]


def shaped(method: str, shape: Shape) -> Callable[[ScriptedSigner], Callable[[Asked], Any]]:
    """Answer `method` in a special shape and everything else well."""

    def of(signer: ScriptedSigner) -> Callable[[Asked], Any]:
        def answer(asked: Asked) -> Iterable[Any]:
            return shape(asked, signer) if asked.method == method else [signer.good(asked)]

        return answer

    return of


def app(signer: ScriptedSigner, timeout: float = LONG) -> RemoteSigner:
    return RemoteSigner.from_uri(signer.uri, timeout=timeout)


async def test_every_method_against_our_signer(tmp_path: Path) -> None:
    """Connect, sign, encrypt, decrypt, ping, switch relays, log out: over the real relay."""
    grants = "sign_event:1,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow=grants) as running,
    ):
        key = secret_key(5)
        remote = RemoteSigner.from_uri(running.uri, client_key=key, timeout=LONG)
        async with remote as signer:
            event = await signer.request_signature(NOTE)
            assert event.pubkey == signer.user_pubkey == await signer.get_public_key()
            assert (event.kind, event.content, event.created_at) == (1, "hello", NOW)
            friend = secret_key(9).pubkey
            for encrypt, decrypt in (
                (signer.nip44_encrypt, signer.nip44_decrypt),
                (signer.nip04_encrypt, signer.nip04_decrypt),
            ):
                payload = await encrypt(friend, "for your eyes")
                assert "for your eyes" not in payload
                assert await decrypt(friend, payload) == "for your eyes"
            await signer.ping()
            assert await signer.switch_relays() == (relay.url,)
            with pytest.raises(RequestDenied, match="sign_event:7 is not allowed"):
                await signer.sign_event({"kind": 7, "content": "+"})
            await signer.logout()
            with pytest.raises(RequestDenied, match="not connected"):
                await signer.sign_event(NOTE)


async def test_a_used_secret_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """A bunker URI pairs one client: a second one is told to ask for a new URI."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url]) as running,
    ):
        async with RemoteSigner.from_uri(running.uri, client_key=secret_key(5), timeout=LONG):
            pass
        other = RemoteSigner.from_uri(running.uri, client_key=secret_key(6), timeout=LONG)
        with pytest.raises(PairingFailed, match=r"ask for a new bunker URI.*pairs one client"):
            await other.__aenter__()
        # The client that used it is known by its key, and may come back.
        async with RemoteSigner.from_uri(running.uri, client_key=secret_key(5), timeout=LONG):
            pass


def test_a_malformed_uri_is_refused_before_anything_is_sent() -> None:
    """`from_uri` says what is wrong with the URI."""
    with pytest.raises(InvalidURI, match="names no relay"):
        RemoteSigner.from_uri(f"bunker://{secret_key(1).pubkey}")


# --- what goes out -----------------------------------------------------------------------------


async def test_connect_introduces_the_client() -> None:
    """connect carries remote signer, secret, permissions and metadata, in NIP-46's places."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        remote = RemoteSigner.from_uri(
            signer.uri,
            permissions=[Permission("sign_event", "1"), Permission("nip44_encrypt")],
            metadata=ClientMetadata(name="An app"),
            timeout=LONG,
        )
        async with remote:
            await remote.relays_checked(LONG)
        async with app(signer):
            pass
    connects = [asked.params for asked in signer.asked if asked.method == "connect"]
    full = [signer.transport.pubkey, signer.secret, "sign_event:1,nip44_encrypt"]
    assert connects == [
        [*full, '{"name":"An app"}'],
        [signer.transport.pubkey, signer.secret],
    ]
    assert signer.methods()[:3] == ["connect", "get_public_key", "switch_relays"]


async def test_the_subscription_is_live_before_the_first_request_goes_out() -> None:
    """The first thing a relay hears is the REQ, for this signer's answers to this client."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        before = len(relay.received)
        async with app(signer):
            pass
        first, second = relay.received[before : before + 2]
        assert (first[0], second[0]) == ("REQ", "EVENT")
        assert first[2]["authors"] == [signer.transport.pubkey]
        assert first[2]["#p"] == [second[1]["pubkey"]]
        assert "limit" not in first[2]


# --- what comes back: shapes of signers in the field -------------------------------------------

GOOD_SHAPES: dict[str, tuple[str, Shape]] = {
    "connect answered with the secret": (
        "connect",
        lambda asked, signer: [{"id": asked.id, "result": signer.secret}],
    ),
    "error null beside a result": (
        "sign_event",
        lambda asked, signer: [{**signer.good(asked), "error": None}],
    ),
    "error empty beside a result": (
        "sign_event",
        lambda asked, signer: [{**signer.good(asked), "error": ""}],
    ),
    "result as an object": (
        "sign_event",
        lambda asked, signer: [
            {"id": asked.id, "result": json.loads(signer.good(asked)["result"])}
        ],
    ),
    "switch_relays null": (
        "switch_relays",
        lambda asked, signer: [{"id": asked.id, "result": None}],
    ),
    "switch_relays empty": (
        "switch_relays",
        lambda asked, signer: [{"id": asked.id, "result": ""}],
    ),
    "switch_relays unknown": (
        "switch_relays",
        lambda asked, signer: [{"id": asked.id, "error": "unknown method"}],
    ),
    "switch_relays garbage": (
        "switch_relays",
        lambda asked, signer: [{"id": asked.id, "result": "[1]"}],
    ),
    "doubled": (
        "sign_event",
        lambda asked, signer: [signer.good(asked), signer.good(asked)],
    ),
    "garbage first": (
        "sign_event",
        lambda asked, signer: ["not json", "[]", "{}", '{"id":null}', signer.good(asked)],
    ),
    "answer to another id first": (
        "sign_event",
        lambda asked, signer: [{"id": "other", "result": "x"}, signer.good(asked)],
    ),
    "an error from a second signer on the same key, then the signature": (
        "sign_event",
        lambda asked, signer: [
            {"id": asked.id, "result": "error", "error": "no such session"},
            signer.good(asked),
        ],
    ),
}


@pytest.mark.parametrize("name", GOOD_SHAPES)
async def test_an_odd_but_good_answer_is_understood(name: str) -> None:
    """Whatever the shape, the caller gets its signature."""
    method, shape = GOOD_SHAPES[name]
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = shaped(method, shape)(signer)
        async with app(signer) as remote:
            event = await remote.sign_event(NOTE)
        assert event.pubkey == signer.user.pubkey


ERRORS: dict[str, Shape] = {
    "error beside an empty result": lambda a, _: [{"id": a.id, "result": "", "error": "denied"}],
    "error without a result": lambda a, _: [{"id": a.id, "error": "denied"}],
    "error beside null": lambda a, _: [{"id": a.id, "result": None, "error": "denied"}],
    "error beside error": lambda a, _: [{"id": a.id, "result": "error", "error": "denied"}],
    "error as an object": lambda a, _: [{"id": a.id, "error": {"code": 1, "message": "denied"}}],
}


@pytest.mark.parametrize("name", ERRORS)
async def test_every_shape_of_error_is_a_denial(name: str) -> None:
    """Each of the five shapes is RequestDenied with the signer's word."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = shaped("sign_event", ERRORS[name])(signer)
        async with app(signer) as remote:
            with pytest.raises(RequestDenied) as caught:
                await remote.sign_event(NOTE)
    assert (caught.value.method, caught.value.reason) == ("sign_event", "denied")


def signed(signer: ScriptedSigner, **changes: Any) -> str:
    template = EventTemplate(1, "hello", (("t", "x"),), NOW)
    return json.dumps({**sign_event(template, signer.user).to_dict(), **changes})


WRONG: dict[str, tuple[str, Shape]] = {
    "no event": ("no event", lambda a, s: [{"id": a.id, "result": "ok"}]),
    "result null": ("no event", lambda a, s: [{"id": a.id, "result": None}]),
    "forged signature": (
        "does not match",
        lambda a, s: [{"id": a.id, "result": signed(s, sig="0" * 128)}],
    ),
    "changed content": (
        "does not match",
        lambda a, s: [{"id": a.id, "result": signed(s, content="other")}],
    ),
    "another event": (
        "signed another event",
        lambda a, s: [
            {
                "id": a.id,
                "result": sign_event(EventTemplate(1, "other", (), NOW), s.user).to_json().decode(),
            }
        ],
    ),
    "another author": (
        "by another key",
        lambda a, s: [
            {
                "id": a.id,
                "result": sign_event(EventTemplate(1, "hello", (("t", "x"),), NOW), s.transport)
                .to_json()
                .decode(),
            }
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_event_that_was_not_asked_for_is_refused(name: str) -> None:
    """A signer's word is not taken: id, signature, author and content are checked."""
    _, shape = WRONG[name]
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = shaped("sign_event", shape)(signer)
        async with app(signer) as remote:
            with pytest.raises(InvalidReply, match="sign_event"):
                await remote.sign_event(NOTE)


async def test_an_answer_from_a_stranger_is_not_taken() -> None:
    """Only the remote signer's own key answers, whoever else knows the request's id."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        app(signer) as remote,
    ):
        await remote.relays_checked(LONG)
        asked: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()

        def keep(request: Asked) -> Iterable[Any]:
            asked.set_result(request)
            return []

        signer.answer = keep
        waiting = asyncio.create_task(remote.ping(timeout=LONG))
        request = await asked
        forged = {"id": request.id, "result": "forged"}
        await signer.send(request.client, forged, key=secret_key(66))
        await signer.send(request.client, {"id": request.id, "result": "pong"})
        await waiting


async def test_a_nip04_answer_to_a_nip44_request_is_read() -> None:
    """A signer of the old kind is understood, and may send 15 seconds in the past."""
    async with scripted_relay() as relay:
        old = ScriptedSigner([relay.url], scheme=Scheme.NIP04, skew=-15)
        async with scripted_signer(signer=old) as signer, app(signer) as remote:
            assert (await remote.sign_event(NOTE)).pubkey == signer.user.pubkey


async def test_an_auth_url_is_shown_once_and_the_answer_awaited() -> None:
    """auth_url any time: the page goes to the caller, and the final answer has the same id."""

    def twice(asked: Asked, signer: ScriptedSigner) -> Iterable[Any]:
        challenge = {"id": asked.id, "result": "auth_url", "error": "https://example.com/yes"}
        return [challenge, challenge, signer.good(asked)]

    shown: list[str] = []
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = shaped("sign_event", twice)(signer)
        remote = RemoteSigner.from_uri(signer.uri, timeout=LONG, on_auth_url=shown.append)
        async with remote:
            assert (await remote.sign_event(NOTE)).content == "hello"
    assert shown == ["https://example.com/yes"]


async def test_a_burnt_secret_is_no_failure_when_the_signer_knows_us() -> None:
    """A lost answer to connect: the second try is refused, but the connection works."""

    def burnt(asked: Asked, signer: ScriptedSigner) -> Iterable[Any]:
        return [{"id": asked.id, "result": "error", "error": "invalid secret"}]

    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = shaped("connect", burnt)(signer)
        async with app(signer) as remote:
            assert remote.user_pubkey == signer.user.pubkey


async def test_a_wrong_connect_answer_is_no_pairing() -> None:
    """connect has to be answered with ack or with the secret of the URI."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = lambda asked: [{"id": asked.id, "result": "hello"}]
        with pytest.raises(PairingFailed, match="neither ack nor the secret"):
            async with app(signer):
                pass


async def test_a_pubkey_that_is_none_is_refused() -> None:
    """get_public_key has to be answered with 64 hex characters."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        shape: Shape = lambda asked, _: [{"id": asked.id, "result": "npub1..."}]  # noqa: E731
        signer.answer = shaped("get_public_key", shape)(signer)
        with pytest.raises(InvalidReply, match="public key"):
            async with app(signer):
                pass


async def test_switch_relays_moves_the_client() -> None:
    """The signer names another relay: the client is there, and no more on the old one."""
    async with (
        scripted_relay() as old,
        scripted_relay() as new,
        scripted_signer(old.url, new.url) as signer,
    ):
        signer.relays = [old.url]

        def moved(asked: Asked, _: ScriptedSigner) -> Iterable[Any]:
            return [{"id": asked.id, "result": json.dumps([new.url])}]

        signer.answer = shaped("switch_relays", moved)(signer)
        async with app(signer) as remote:
            await remote.relays_checked(LONG)
            assert remote.relays == (parse_relay_url(new.url),)
            assert (await remote.sign_event(NOTE)).kind == 1
        assert [message for message in new.of_type("EVENT") if message]


async def test_what_is_no_event_is_refused_before_it_is_sent() -> None:
    """A caller's mistake costs no round trip, and a signer that never connected has no user."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        async with app(signer) as remote:
            with pytest.raises(InvalidEvent, match="kind"):
                await remote.sign_event({"content": "no kind"})
            assert "sign_event" not in signer.methods()
        with pytest.raises(ClientError, match="not connected"):
            _ = app(signer).user_pubkey


async def test_requests_cross_and_each_gets_its_own_answer() -> None:
    """Answers in the reverse order: every caller gets the event that it asked for."""
    held: list[tuple[Asked, Any]] = []

    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        app(signer) as remote,
    ):

        def hold(asked: Asked) -> Iterable[Any]:
            held.append((asked, signer.good(asked)))
            if len(held) < 5:
                return []
            return [response for _, response in reversed(held)]

        signer.answer = hold
        wanted = [{"kind": 1, "content": str(number)} for number in range(5)]
        events = await asyncio.gather(*map(remote.sign_event, wanted))
        assert [event.content for event in events] == list("01234")


async def test_a_request_without_an_ok_is_repeated_with_its_id_after_a_reconnect() -> None:
    """The relay dies with the request: the signer gets it from the next connection, same id."""
    swallowed: list[Message] = []

    async def swallow_one(peer: Peer, message: Message) -> bool:
        if message[0] != "EVENT" or swallowed:
            return False
        swallowed.append(message)
        relay.drop()
        return True

    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        async with app(signer) as remote:
            relay.script = swallow_one
            assert (await remote.sign_event(NOTE)).content == "hello"
        assert len(swallowed) == 1
        ids = [asked.id for asked in signer.asked if asked.method == "sign_event"]
        assert len(set(ids)) == 1


async def test_a_request_whose_answer_was_lost_is_repeated_with_its_id_as_a_fresh_event() -> None:
    """The relay dies between OK and answer: asked again, by a new event."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        async with app(signer) as remote:

            def lose_first(asked: Asked) -> Iterable[Any]:
                if signer.methods().count("sign_event") == 1:
                    relay.drop()
                    return []
                return [signer.good(asked)]

            signer.answer = lose_first
            assert (await remote.sign_event(NOTE)).content == "hello"
        asked = [item for item in signer.asked if item.method == "sign_event"]
        assert len({item.id for item in asked}) == 1
        assert len({item.event.id for item in asked}) == len(asked) >= 2


async def test_no_log_and_no_repr_has_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at its most talkative: neither the URI's secret, nor key, nor content."""
    caplog.set_level(logging.DEBUG)
    key = secret_key(0xABCDEF << 200)
    secret = bytearray(32)
    key.copy_secret(secret)
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        remote = RemoteSigner.from_uri(signer.uri, client_key=key, timeout=LONG)
        async with remote:
            await remote.sign_event({"kind": 1, "content": "what nobody else reads"})
            said = caplog.text + repr(remote) + repr(remote.session) + repr(remote._link)
    assert relay.url.removeprefix("ws://") in said  # there was something to read
    for hidden in (signer.secret, secret.hex(), "what nobody else reads"):
        assert hidden not in said
