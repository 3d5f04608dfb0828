"""What goes over the wire, held against seven client libraries (R1 to R14), through a real relay.

Each rule says in its docstring which libraries fail without it.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from _scripted import Message, Peer, scripted_relay
from bunker.harness import running_relay
from bunker_core.event import parse_event_json, sign_event, verify
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips import nip04, nip44
from bunker_core.nips.bunker_uri import NostrConnectURI, parse_bunker_uri
from bunker_core.nips.channel import Scheme, rpc_template
from bunker_core.nips.nip46 import ClientMetadata, Permission, parse_permissions
from bunker_core.pool import RelayPool
from bunker_signer.store import StoreError, audit_log, clients
from signer._rig import rig
from signer._wire import Answer, Wire, wire

NOTE = {"kind": 1, "content": "hello", "tags": [["t", "nostr"]], "created_at": 1_700_000_000}
EVERYTHING = "sign_event,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"


def signed(answer: Answer) -> Any:
    """Return the event in an answer, verified."""
    event = parse_event_json(answer.json["result"])
    verify(event)
    return event


# --- connect -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ("signer", []),
        ("signer", ["", '{"name":"nostr-tools"}']),
        ("signer", ["sign_event:1,nip44_encrypt"]),
        ("signer", ["", "", "and", "more"]),
        ("nothing", []),  # NDK
        ("stranger", []),  # NDK puts the user's key there
    ],
    ids=["plain", "metadata", "permissions", "six", "empty", "other key"],
)
async def test_connect_shapes(relay_url: str, data: Path, first: str, rest: list[str]) -> None:
    """R1: connect is answered with "ack", whatever library's shape its parameters have."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as client:
        secret = signer.invite("a-secret-of-mine")
        named = {"signer": signer.pubkey, "nothing": "", "stranger": "ab" * 32}[first]
        answer = await client.ask("connect", named, secret, *rest)
    assert answer.json == {"id": "1", "result": "ack"}


async def test_connect_by_invitation_gets_the_secret(relay_url: str, data: Path) -> None:
    """R1: a nostrconnect:// client gets its secret, which keeps impostors out, and never "ack"."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as client:
        metadata = ClientMetadata("App", "https://app.example")
        uri = NostrConnectURI(client.key.pubkey, (relay_url,), "0s8j2djs", (), metadata)
        await signer.agent.accept(signer.identity, uri, ())
        answer = await client.receive()
        assert answer.json["result"] == "0s8j2djs"
        assert "error" not in answer.json
        assert (await client.ask("ping")).json["result"] == "pong"


async def test_connect_again_is_admitted_by_key(relay_url: str, data: Path) -> None:
    """A client that is known is admitted by its key afterwards, no matter the secret it repeats."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        for secret in ("", "used up", "another"):
            answer = await client.ask("connect", signer.pubkey, secret, rid=secret)
            assert answer.json["result"] == "ack"


async def test_a_secret_is_good_once(relay_url: str, data: Path) -> None:
    """A second client with the same secret is denied, and so is a wrong secret and none at all."""
    async with (
        rig(relay_url, data) as signer,
        signer.client() as first,
        wire(relay_url, signer.pubkey) as second,
    ):
        used = f"secret-default-{first.key.pubkey[:8]}"
        for number, secret in enumerate((used, "wrong", "")):
            answer = await second.ask("connect", signer.pubkey, secret, rid=str(number))
            assert answer.error.startswith("denied: ")
        assert (await second.ask("get_public_key")).error.startswith("denied: ")


# --- responses -----------------------------------------------------------------------------------


async def test_errors_have_the_only_shape_that_all_libraries_read(
    relay_url: str, data: Path
) -> None:
    """R2: an error has `result: "error"` beside it; a success has no `error` at all."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        denied = await client.ask("sign_event", json.dumps(NOTE), rid="e")
        assert denied.json.keys() == {"id", "result", "error"}
        assert denied.json["result"] == "error"
        assert denied.error.startswith("denied: ")
        assert (await client.ask("ping", rid="p")).json == {"id": "p", "result": "pong"}


async def test_every_result_is_text(relay_url: str, data: Path) -> None:
    """R2: a signed event is JSON in a text: NDK hangs on an object."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        answer = await client.ask("sign_event", json.dumps(NOTE))
        assert isinstance(answer.json["result"], str)
        assert signed(answer).pubkey == signer.user


@pytest.mark.parametrize(
    "method",
    ["get_relays", "create_account", "describe", "nip44_get_key", "", "\u001b[2J", "x" * 999],
)
async def test_unknown_methods_are_answered(relay_url: str, data: Path, method: str) -> None:
    """NIP-46: an unknown or unsupported method MUST be answered with an error."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        assert (await client.ask(method)).error == "unsupported: unknown method"


async def test_switch_relays_says_null_as_text(relay_url: str, data: Path) -> None:
    """R3: nothing to change is the text "null": nostr-tools and applesauce hang on JSON's null."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        answer = await client.ask("switch_relays")
        assert answer.json == {"id": "1", "result": "null"}


async def test_burst_after_connect(relay_url: str, data: Path) -> None:
    """R3: what libraries send at once after connecting is all answered, in any order."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        methods = ["get_public_key", "get_public_key", "switch_relays", "ping"]
        await asyncio.gather(
            *(client.send(method, rid=f"m{number}") for number, method in enumerate(methods)),
            *(client.send("sign_event", json.dumps(NOTE), rid=f"s{n}") for n in range(10)),
        )
        answers = [await client.receive() for _ in range(14)]
        assert {item.json["id"] for item in answers} == {
            *(f"m{n}" for n in range(4)),
            *(f"s{n}" for n in range(10)),
        }
        assert not any(item.error for item in answers)


async def test_strangers_are_told(relay_url: str, data: Path) -> None:
    """R4: a stranger whose request can be read gets an error, not silence."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as stranger:
        for method in (
            "ping",
            "get_public_key",
            "sign_event",
            "logout",
            "switch_relays",
            "nonsense",
        ):
            answer = await stranger.ask(method, rid=method)
            assert answer.json["id"] == method
            assert answer.error == "denied: not connected, send connect first"


async def test_answers_to_strangers_are_capped(relay_url: str, data: Path) -> None:
    """R4: a flood of strangers' requests gets a handful of answers, and clients are served."""
    at = int(time.time())
    async with (
        rig(relay_url, data, clock=lambda: float(at)) as signer,
        wire(relay_url, signer.pubkey) as stranger,
        wire(relay_url, signer.pubkey) as client,
    ):
        signer.invite("for the client")
        await asyncio.gather(
            *(stranger.send("ping", rid=f"{number}", created_at=at) for number in range(60))
        )
        answer = await client.ask("connect", "", "for the client", created_at=at)
        assert answer.json["result"] == "ack"
        assert (await client.ask("ping", created_at=at)).json["result"] == "pong"
        assert len(stranger.seen) <= 20


@pytest.mark.parametrize("what", ["garbage", "for someone else", "nip04 garbage", "no request"])
async def test_what_a_stranger_can_not_have_meant_is_dropped(
    relay_url: str, data: Path, what: str
) -> None:
    """R4: an undecryptable or unreadable event of a stranger gets nothing: no oracle."""
    async with (
        rig(relay_url, data) as signer,
        wire(relay_url, signer.pubkey) as stranger,
        wire(relay_url, signer.pubkey) as other,
    ):
        content = {
            "garbage": "garbage",
            "for someone else": nip44.encrypt("{}", nip44.conversation_key(b"\x01" * 32)),
            "nip04 garbage": "AAAAAAAAAAAAAAAAAAAAAA==?iv=AAAAAAAAAAAAAAAAAAAAAA==",
            "no request": stranger.channel.seal("[1, 2"),
        }[what]
        template = rpc_template(content, signer.pubkey, int(time.time()))
        await stranger.publish(sign_event(template, stranger.key))
        # the other's answer comes later than one to the stranger would have
        assert (await other.ask("ping")).error
        assert stranger.seen == []


async def test_unreadable_request_of_a_client_is_answered(relay_url: str, data: Path) -> None:
    """R4: a client whose request has an id and nothing else is told that it is invalid."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        await client.publish(client.event(json.dumps({"id": "half"})))
        answer = await client.receive()
        assert answer.json["id"] == "half"
        assert answer.error.startswith("invalid: ")


async def test_responses_are_never_older_than_requests(relay_url: str, data: Path) -> None:
    """R5: go and nak listen `since: now`; a signer whose clock is behind must not backdate."""
    now = int(time.time())
    async with (
        rig(relay_url, data, clock=lambda: now - 30.0) as signer,
        wire(relay_url, signer.pubkey) as client,
    ):
        signer.invite("s3cret")
        answer = await client.ask("connect", "", "s3cret", created_at=now + 2)
        assert answer.event.created_at == now + 2
        answer = await client.ask("ping", created_at=now - 60)
        assert answer.event.created_at == now - 30


async def test_the_uri_is_good_when_it_is_there(relay_url: str, data: Path) -> None:
    """R6: the signer is subscribed before its URI exists: a connect at once is not lost."""
    async with (
        wire(relay_url, "ab" * 32) as client,
        rig(relay_url, data) as signer,
    ):
        client.remote = signer.pubkey
        uri = parse_bunker_uri(str(signer.agent.invite(signer.identity, "s3cret", ())))
        # The relay answers `mute:` for an ephemeral event that nobody is subscribed to.
        assert (await client.ask("connect", "", uri.secret)).json["result"] == "ack"
        assert uri.relays == (relay_url,)


async def test_no_uri_before_the_subscription_stands(data: Path) -> None:
    """R6: the signer is not there until a relay has confirmed its subscription by EOSE."""
    asked: asyncio.Queue[tuple[Peer, str]] = asyncio.Queue()

    async def hold(peer: Peer, message: Message) -> bool:
        if message[0] != "REQ":
            return False
        asked.put_nowait((peer, message[1]))
        return True

    async def start() -> None:
        async with rig(relay.url, data):
            started.append(True)

    started: list[bool] = []
    async with scripted_relay(hold) as relay:
        starting = asyncio.create_task(start())
        peer, subscription_id = await asked.get()
        for _ in range(3):  # time enough for a signer that would not wait
            async with RelayPool([relay.url]) as pool:
                await pool.connected(10)
        assert not started
        await peer.send("EOSE", subscription_id)
        async with asyncio.timeout(10):
            await starting
        assert started


async def test_requests_of_the_last_minute_are_wanted(relay_url: str, data: Path) -> None:
    """R7: a client whose clock is a minute behind, or a second ahead, is served."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        for number, offset in enumerate((-55, 1, 55)):
            answer = await client.ask("ping", rid=number, created_at=int(time.time()) + offset)
            assert answer.json == {"id": number, "result": "pong"}


async def test_a_replayed_event_is_dropped_after_a_restart_too(relay_url: str, data: Path) -> None:
    """R7: event ids are remembered on disk: what a relay replays is not handled twice."""
    key = SecretKey.generate()
    async with rig(relay_url, data) as signer, signer.client(key=key) as client:
        event = await client.send("ping", rid="once")
        assert (await client.receive()).json["id"] == "once"
    async with rig(relay_url, data) as again:
        assert again.pubkey == signer.pubkey
        async with wire(relay_url, again.pubkey, key) as client:
            await client.publish(event)
            assert (await client.ask("ping", rid="later")).json["id"] == "later"
            assert "once" not in [item.json["id"] for item in client.seen]


async def test_responses_go_to_all_relays_of_the_client(
    relay_url: str, data: Path, tmp_path: Path
) -> None:
    """R8: the answer is published where the client listens and where the request came from."""
    async with running_relay(tmp_path / "other") as other, rig(relay_url, data) as signer:
        key = SecretKey.generate()
        async with (
            wire(relay_url, signer.pubkey, key) as here,
            wire(other.url, signer.pubkey, key) as there,
        ):
            uri = NostrConnectURI(key.pubkey, (other.url,), "0s8j2djs")
            await signer.agent.accept(signer.identity, uri, ())
            assert (await there.receive()).json["result"] == "0s8j2djs"
            await here.receive()  # by the signer's own relay too
            await here.send("ping", rid="from here")
            assert (await here.receive()).json["id"] == "from here"
            assert (await there.receive()).json["id"] == "from here"


async def test_an_undelivered_response_is_sent_again(relay_url: str, data: Path) -> None:
    """R8: an answer that found nobody listening is sent again as a fresh event."""
    async with rig(relay_url, data) as signer:
        secret = signer.invite("s3cret")
        key = SecretKey.generate()
        async with wire(relay_url, signer.pubkey) as voice:
            # sent by a client that does not listen: the relay answers `mute:` to the response
            silent = Wire(voice.pool, signer.pubkey, key)
            await silent.publish(
                silent.event(json.dumps({"id": "1", "method": "connect", "params": ["", secret]}))
            )
            async with wire(relay_url, signer.pubkey, key) as listener:
                assert (await listener.receive()).json == {"id": "1", "result": "ack"}


async def test_an_empty_plaintext_is_returned(
    relay_url: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R9: an empty decryption is answered with the empty text, the true one, and logged."""
    caplog.set_level("INFO")
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        peer = SecretKey.generate()
        payload = nip04.encrypt("", peer.shared_x(signer.user))
        answer = await client.ask("nip04_decrypt", peer.pubkey, payload)
        assert answer.json == {"id": "1", "result": ""}
    assert "empty text decrypted" in caplog.text


async def test_large_texts_are_encrypted_both_ways(relay_url: str, data: Path) -> None:
    """R10: texts above 65,535 bytes go through: nostr-tools writes them."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        peer = SecretKey.generate()
        text = "é" * 40_000
        key = nip44.conversation_key(peer.shared_x(signer.user))
        answer = await client.ask("nip44_encrypt", peer.pubkey, text, rid="e")
        assert nip44.decrypt(answer.json["result"], key) == text
        answer = await client.ask(
            "nip44_decrypt", peer.pubkey, nip44.encrypt(text[:9], key), rid="d"
        )
        assert answer.json["result"] == text[:9]


async def test_logout_is_acknowledged_and_then_done(relay_url: str, data: Path) -> None:
    """R12: the client gets its "ack", and is a stranger afterwards."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        assert (await client.ask("logout", rid="bye")).json == {"id": "bye", "result": "ack"}
        answer = await client.ask("sign_event", json.dumps(NOTE), rid="after")
        assert answer.error.startswith("denied: not connected")


async def test_a_logout_that_was_acknowledged_is_done(relay_url: str, data: Path) -> None:
    """The "ack" leaves when nothing is left to do: a kill in between costs the app its grants."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        known: list[int] = []
        publish = signer.agent.pool.publish

        def watched(*args: Any) -> Any:
            known.append(len(signer.clients()))
            return publish(*args)

        signer.agent.pool.publish = watched  # type: ignore[method-assign, assignment]
        await client.ask("logout")
        assert known == [0]


async def test_a_logout_that_can_t_be_written_is_not_acknowledged(
    relay_url: str, data: Path
) -> None:
    """A database that fails between the two: the app is not told, and is a client still."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        append, failing = audit_log.append, [True]

        def full(*args: Any, **facts: Any) -> Any:
            if args[2] == "logout" and failing[0]:
                raise StoreError("the disk is full")
            return append(*args, **facts)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(audit_log, "append", full)
            await client.send("logout", rid="bye")
            await client.silence()
        assert len(signer.clients()) == 1


async def test_a_logout_from_before_the_pairing_is_ignored(relay_url: str, data: Path) -> None:
    """R12: a replayed logout of an earlier session does not end this one."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        await client.send("logout", created_at=int(time.time()) - 50)
        await client.silence()


async def test_metadata_is_a_hint_of_limited_size(relay_url: str, data: Path) -> None:
    """R13: only texts are kept of what a client says of itself, cut, and nothing is fetched."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as client:
        signer.invite("s3cret")
        said = json.dumps({"name": "N" * 5000, "url": 7, "image": "https://x\u202e", "more": []})
        await client.ask("connect", "", "s3cret", "", said)
        (stored,) = signer.clients()
        assert stored.metadata == ClientMetadata("N" * 256, "", "https://x")


async def test_a_rename_survives_pairing_again(relay_url: str, data: Path) -> None:
    """R13: what the owner calls a client is not overwritten by what it calls itself later."""
    async with rig(relay_url, data) as signer, signer.client() as client:

        async def pair_as(name: str) -> str:
            metadata = ClientMetadata(name)
            uri = NostrConnectURI(client.key.pubkey, (relay_url,), "0s8j2djs", (), metadata)
            await signer.agent.accept(signer.identity, uri, ())
            await client.receive()
            (stored,) = signer.clients()
            return stored.metadata.name

        assert await pair_as("First") == "First"
        with signer.database.write() as connection:
            assert clients.rename(connection, "default", client.key.pubkey, "Mine")
        assert await pair_as("Second") == "Mine"


async def test_the_two_keys_are_not_mixed_up(relay_url: str, data: Path) -> None:
    """R14: get_public_key names the user's key; the traffic is signed by the other one."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        answer = await client.ask("get_public_key")
        assert answer.json["result"] == signer.user != signer.pubkey
        assert answer.event.pubkey == signer.pubkey
        assert answer.event.tags == (("p", client.key.pubkey),)
        assert answer.event.kind == NOSTR_CONNECT


# --- requests as libraries write them ------------------------------------------------------------


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


@pytest.mark.parametrize("offset", [-1000, -310, 310, 100_000])
async def test_stale_requests_are_dropped(relay_url: str, data: Path, offset: int) -> None:
    """A request that is minutes off our clock gets nothing: it may be a recording."""
    now = int(time.time())
    async with (
        rig(relay_url, data, clock=lambda: float(now)) as signer,
        signer.client() as client,
    ):
        event = client.event('{"id":"old","method":"ping"}', created_at=now + offset)
        assert await signer.agent.handler.handle(verify(event), relay_url) is None


async def test_grants_do_not_leak_between_clients(relay_url: str, data: Path) -> None:
    """What one client may do, another may not."""
    async with (
        rig(relay_url, data) as signer,
        signer.client("sign_event") as trusted,
        signer.client() as other,
    ):
        assert (await other.ask("sign_event", json.dumps(NOTE))).error.startswith("denied: ")
        assert signed(await trusted.ask("sign_event", json.dumps(NOTE))).content == "hello"
        assert parse_permissions("sign_event") == (Permission("sign_event"),)


async def test_an_unexpected_failure_is_answered(relay_url: str, data: Path) -> None:
    """Whatever goes wrong inside is answered with an error: the client does not hang."""

    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:

        def broken(template: object) -> None:
            raise ZeroDivisionError("a secret text")

        signer.identity.sign = broken  # type: ignore[method-assign, assignment]
        assert (
            await client.ask("sign_event", json.dumps(NOTE))
        ).error == "error: the signer failed"
        assert (await client.ask("ping")).json["result"] == "pong"
