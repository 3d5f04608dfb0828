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
from bunker_core.nips.nip46 import ClientMetadata, Permission, Response, parse_permissions
from bunker_core.pool import RelayPool
from bunker_signer.policy import Grant
from bunker_signer.request.reply import Reply
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


@pytest.mark.parametrize("offset", [-1000, -310, 310, 80_000])
async def test_a_client_is_told_how_far_its_clock_is_off(
    relay_url: str, data: Path, offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Minutes off: nothing is done, and client and owner are told by how much, once a minute."""
    now = float(int(time.time()))
    async with (
        rig(relay_url, data, clock=lambda: now) as signer,
        signer.client("sign_event") as client,
    ):

        async def handled(rid: str, created_at: float) -> Reply | None:
            text = json.dumps({"id": rid, "method": "sign_event", "params": [json.dumps(NOTE)]})
            event = client.event(text, created_at=int(created_at))
            return await signer.agent.handler.handle(verify(event), relay_url)

        reply = await handled("a", now + offset)
        assert reply is not None
        side = "ahead of" if offset > 0 else "behind"
        told = f"invalid: your clock is {abs(offset)} s {side} the relay's, set it and retry"
        assert reply.response == Response("a", error=told)
        assert caplog.messages.count("a client's clock is off") == 1
        assert signer.audit("request") == []
        assert await handled("b", now + offset) is None
        now += 61
        assert await handled("c", now + offset) is not None
        assert await handled("d", now + 2 * 86400) is None  # no client's clock, but a recording


async def test_a_stranger_is_not_told_of_clocks(relay_url: str, data: Path) -> None:
    """What is stale of somebody unknown gets nothing: it may be a recording."""
    async with rig(relay_url, data) as signer, signer.client(pair=False) as client:
        event = client.event('{"id":"old","method":"ping"}', created_at=int(time.time()) - 1000)
        assert await signer.agent.handler.handle(verify(event), relay_url) is None


@pytest.mark.parametrize("off", [-1200.0, 1200.0])
async def test_a_machine_minutes_off_serves(
    relay_url: str, data: Path, off: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The relay's Date corrects the clock: requests are fresh, events are dated right."""
    async with (
        rig(relay_url, data, clock=lambda: time.time() + off) as signer,
        signer.client("sign_event") as client,
    ):
        answer = await client.ask("sign_event", json.dumps({"kind": 1, "content": "x"}), rid="x")
        assert abs(verify(parse_event_json(answer.json["result"])).created_at - time.time()) < 60
        assert abs(answer.event.created_at - time.time()) < 60
        assert abs(signer.agent.clock_off + off) < 30
        assert caplog.messages.count("this machine's clock is off: set it by NTP") == 1


async def test_a_relay_can_t_shift_the_clock_by_hours(relay_url: str, data: Path) -> None:
    """Beyond an hour our own clock counts: requests that were forgotten would be fresh again."""
    async with rig(relay_url, data, clock=lambda: time.time() + 7200) as signer:
        assert abs(signer.agent._corrected() - time.time() - 7200) < 30


async def test_an_unused_secret_adds_its_grants(relay_url: str, data: Path) -> None:
    """A known client connects with a new URI: it has what that grants, and nobody else gets it."""
    async with (
        rig(relay_url, data) as signer,
        signer.client("sign_event:7") as client,
        wire(relay_url, signer.pubkey) as other,
    ):
        secret = signer.invite("another-secret", [Grant("sign_event", "1")])
        note = json.dumps(NOTE)
        assert (await client.ask("sign_event", note, rid="a")).error.startswith("denied: ")
        assert (await client.ask("connect", "", secret, rid="b")).json["result"] == "ack"
        assert not (await client.ask("sign_event", note, rid="c")).error
        assert {grant.param for grant in signer.grants(client.key.pubkey)} == {"1", "7"}
        assert len(signer.audit("pair")) == 2
        assert (await other.ask("connect", "", secret)).error.startswith("denied: ")
        for wrong in (secret, "wrong", ""):  # used or wrong: a known client is admitted by its key
            assert (await client.ask("connect", "", wrong, rid="d" + wrong)).json["result"] == "ack"
        assert len(signer.audit("pair")) == 2


async def test_an_invitation_that_nobody_took_is_taken_back(relay_url: str, data: Path) -> None:
    """The app that was not there has no grants, and who was a client before has what it had."""
    async with rig(relay_url, data) as signer, signer.client("sign_event:7") as client:
        signer.agent._courier._sleep = lambda _: asyncio.sleep(0)
        stranger, known = SecretKey.generate().pubkey, client.key.pubkey
        for subscription in list(client.pool._subscriptions.values()):
            subscription.close()
        for pubkey in (stranger, known):
            uri = NostrConnectURI(pubkey, (relay_url,), "0s8j2djs", ())
            granted = [Grant("sign_event", "1")]
            assert not await signer.agent.accept(signer.identity, uri, granted)
        assert {item.pubkey for item in signer.clients()} == {known}
        assert signer.grants(stranger) == ()
        assert [grant.param for grant in signer.grants(known)] == ["7"]
        assert [item.decided_by for item in signer.audit("unpair")] == ["nobody was listening"] * 2


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
        event = verify(parse_event_json(answer.json["result"]))
        assert (event.content, event.created_at) == (content, 1_700_000_000)


async def test_disconnect_is_a_logout(relay_url: str, data: Path) -> None:
    """Snort says goodbye in its own word."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        assert (await client.ask("disconnect", rid="bye")).json["result"] == "ack"
        assert signer.clients() == ()


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
