"""Responses as seven client libraries can read them.

Each rule, R1 to R14, says in its docstring which libraries fail without it.
"""

import asyncio
import json
from pathlib import Path

import pytest

from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips import nip04, nip44
from bunker_core.nips.nip46 import Permission, parse_permissions
from signer.request.support.rig import rig
from signer.request.wire._wire import EVERYTHING, NOTE, signed


async def test_errors_have_the_only_shape_that_all_libraries_read(
    relay_url: str, data: Path
) -> None:
    """R2: an error has `result: "error"` beside it; a success has no `error` at all."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        denied = await client.ask("sign_event", NOTE, rid="e")
        assert denied.json.keys() == {"id", "result", "error"}
        assert denied.json["result"] == "error"
        assert denied.error.startswith("denied: ")
        assert (await client.ask("ping", rid="p")).json == {"id": "p", "result": "pong"}


async def test_every_result_is_text(relay_url: str, data: Path) -> None:
    """R2: a signed event is JSON in a text: NDK hangs on an object."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        answer = await client.ask("sign_event", NOTE)
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


async def test_burst_after_connect(relay_url: str, data: Path) -> None:
    """R3: what libraries send at once after connecting is all answered, in any order."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        methods = ["get_public_key", "get_public_key", "switch_relays", "ping"]
        await asyncio.gather(
            *(client.send(method, rid=f"m{number}") for number, method in enumerate(methods)),
            *(client.send("sign_event", NOTE, rid=f"s{n}") for n in range(10)),
        )
        answers = [await client.receive() for _ in range(14)]
        assert {item.json["id"] for item in answers} == {
            *(f"m{n}" for n in range(4)),
            *(f"s{n}" for n in range(10)),
        }
        assert not any(item.error for item in answers)


async def test_unreadable_request_of_a_client_is_answered(relay_url: str, data: Path) -> None:
    """R4: a client whose request has an id and nothing else is told that it is invalid."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        await client.publish(client.event(json.dumps({"id": "half"})))
        answer = await client.receive()
        assert answer.json["id"] == "half"
        assert answer.error.startswith("invalid: ")


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


async def test_the_two_keys_are_not_mixed_up(relay_url: str, data: Path) -> None:
    """R14: get_public_key names the user's key; the traffic is signed by the other one."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        answer = await client.ask("get_public_key")
        assert answer.json["result"] == signer.user != signer.pubkey
        assert answer.event.pubkey == signer.pubkey
        assert answer.event.tags == (("p", client.key.pubkey),)
        assert answer.event.kind == NOSTR_CONNECT


async def test_grants_do_not_leak_between_clients(relay_url: str, data: Path) -> None:
    """What one client may do, another may not."""
    async with (
        rig(relay_url, data) as signer,
        signer.client("sign_event") as trusted,
        signer.client() as other,
    ):
        assert (await other.ask("sign_event", NOTE)).error.startswith("denied: ")
        assert signed(await trusted.ask("sign_event", NOTE)).content == "hello"
        assert parse_permissions("sign_event") == (Permission("sign_event"),)


async def test_an_unexpected_failure_is_answered(relay_url: str, data: Path) -> None:
    """Whatever goes wrong inside is answered with an error: the client does not hang."""

    async with rig(relay_url, data) as signer, signer.client("sign_event") as client:

        def broken(template: object) -> None:
            raise ZeroDivisionError("a secret text")

        signer.identity.sign = broken  # type: ignore[method-assign, assignment]
        assert (await client.ask("sign_event", NOTE)).error == "error: the signer failed"
        assert (await client.ask("ping")).json["result"] == "pong"
