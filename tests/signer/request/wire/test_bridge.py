"""What an Android bridge (NIP-55 to NIP-46) sends, and the oddities of clients, raw."""

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bunker.harness import RunningSigner, running_relay, running_signer
from bunker_core.event import parse_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import NostrConnectURI, parse_bunker_uri
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip19 import parse_pubkey
from signer.request.wire._wire import Wire, wire

GRANTS = "sign_event:1,nip44_encrypt,nip44_decrypt"
NOTE = {"kind": 1, "content": "from the phone", "tags": [], "created_at": 1_700_000_000}


@asynccontextmanager
async def paired(tmp_path: Path) -> AsyncIterator[tuple[Wire, RunningSigner]]:
    """Have relay and signer, and a raw client that is paired."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow=GRANTS) as running,
    ):
        uri = parse_bunker_uri(running.uri)
        async with wire(relay.url, uri.remote_signer_pubkey) as client:
            answer = await client.ask("connect", uri.remote_signer_pubkey, uri.secret)
            assert answer.json["result"] == "ack"
            yield client, running


async def test_a_bridge_keeps_its_session_warm_and_repeats_itself(tmp_path: Path) -> None:
    """Pings without a new connect; the same request in a fresh event is signed once."""
    async with paired(tmp_path) as (client, running):
        for number in range(3):
            assert (await client.ask("ping", rid=f"warm {number}")).json["result"] == "pong"
        first = await client.ask("sign_event", json.dumps(NOTE), rid="a")
        event = verify(parse_event(json.loads(first.json["result"])))
        assert event.pubkey == parse_pubkey(running.npub)
        for later in range(1, 4):  # the app came back to the screen
            again = await client.ask(
                "sign_event", json.dumps(NOTE), rid="a", created_at=int(time.time()) + later
            )
            assert again.scheme is Scheme.NIP44
            assert again.json == first.json  # to the last byte: a new signature has another nonce


async def test_what_is_nip55s_own_is_refused_by_name(tmp_path: Path) -> None:
    """decrypt_zap_event and sign_message exist between apps on a phone: an error, never silence."""
    async with paired(tmp_path) as (client, _):
        for method in ("decrypt_zap_event", "sign_message"):
            answer = await client.ask(method, "{}", rid=method)
            assert answer.error.startswith("unsupported:")


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("a date with a fraction", {**NOTE, "created_at": 1_700_000_000.7}),
        ("the event as an object", NOTE),
    ],
)
async def test_oddities_of_an_event_are_taken(
    tmp_path: Path, name: str, template: dict[str, object]
) -> None:
    """JavaScript's fractions of a second; an object where NIP-46 has text."""
    async with paired(tmp_path) as (client, _):
        sent = template if name.endswith("object") else json.dumps(template)
        answer = await client.ask("sign_event", sent)
        event = verify(parse_event(json.loads(answer.json["result"])))
        assert event.created_at == 1_700_000_000, name


async def test_oddities_of_a_client_are_taken(tmp_path: Path) -> None:
    """The own pubkey in capitals, `disconnect`, and a response sent to the signer."""
    async with paired(tmp_path) as (client, running):
        pubkey = parse_pubkey(running.npub).upper()
        answer = await client.ask("sign_event", json.dumps({**NOTE, "pubkey": pubkey}))
        assert "error" not in answer.json
        await client.publish(client.event(json.dumps({"id": "x", "result": "ack", "error": ""})))
        await client.silence()  # what is no request has no answer
        assert (await client.ask("disconnect", rid="bye")).json["result"] == "ack"
        after = await client.ask("sign_event", json.dumps(NOTE), rid="after")
        assert "not connected" in after.error


async def test_a_client_whose_clock_is_behind_hears_an_answer(tmp_path: Path) -> None:
    """By minutes it is served, by more it is told how much: from the signer's first second on."""
    async with paired(tmp_path) as (client, _):
        for behind in (60, 240):
            answer = await client.ask("ping", rid=str(behind), created_at=int(time.time()) - behind)
            assert answer.json["result"] == "pong"
        answer = await client.ask("ping", rid="far", created_at=int(time.time()) - 1200)
        said = re.fullmatch(r"invalid: your clock is (\d+) s behind the relay's.*", answer.error)
        assert said, answer.json
        assert 1190 < int(said[1]) < 1230


async def test_an_invitation_without_a_secret_and_with_a_bad_relay_is_taken(
    tmp_path: Path,
) -> None:
    """rust-nostr up to 0.44: no secret, "ack" expected; one of two relays is no address."""
    key = SecretKey.generate()
    async with running_relay(tmp_path / "relay") as relay, wire(relay.url, "", key) as client:
        uri = str(NostrConnectURI(key.pubkey, (relay.url,), None)) + "&relay=https%3A%2F%2Fnone"
        async with running_signer(
            tmp_path / "signer", [relay.url], allow=GRANTS, arguments=["--connect", uri]
        ) as running:
            client.remote = parse_bunker_uri(running.uri).remote_signer_pubkey
            answer = await client.ask("get_public_key")
            if answer.json["id"] != "1":  # the "ack" of the pairing, when it comes after the URI
                answer = await client.receive()
            assert answer.json["result"] == parse_pubkey(running.npub)
