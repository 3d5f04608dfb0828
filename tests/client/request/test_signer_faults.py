"""The fault matrix, the signer's half: gone, silent, locked, or wrong in what it answers."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner
from client.request._faults import HUMAN, MACHINE, NEVER, NOTE, SLACK, outcome, took, world
from support.scripted import Asked, scripted_relay, scripted_signer
from support.strategies import secret_key


async def test_signer_offline_at_once() -> None:
    """The relay says `mute:` and the caller does not want to wait."""
    async with scripted_relay() as relay:
        async with scripted_signer(relay.url) as signer:
            app = RemoteSigner.from_uri(signer.uri, timeout=NEVER / 3, offline_timeout=0)
            await app.__aenter__()
        try:
            word = await outcome("signer offline, raised at once", app.sign_event(NOTE))
        finally:
            await app.__aexit__(None, None, None)
        assert word == "SignerOffline"
        assert took() < MACHINE + SLACK


async def test_signer_killed_and_restarted() -> None:
    """The signer is away for a moment: the request is waited for and signed."""
    async with scripted_relay() as relay:
        async with scripted_signer(relay.url) as signer:
            app = RemoteSigner.from_uri(signer.uri, timeout=10)
            await app.__aenter__()
        try:
            before = len(relay.of_type("EVENT"))
            request = asyncio.create_task(
                outcome("signer killed before the request, then back", app.sign_event(NOTE))
            )
            await relay.wait_for("EVENT", before + 1)
            async with scripted_signer(signer=signer):
                assert await request == "signed"
        finally:
            await app.__aexit__(None, None, None)


async def test_signer_killed_with_the_request() -> None:
    """The signer takes the request and dies: a ping finds out, and it is reported offline."""
    async with scripted_relay() as relay:
        got = asyncio.Event()

        def swallow(asked: Asked) -> Iterable[Any]:
            if asked.method == "sign_event":
                got.set()
                return []
            return [signer.good(asked)]

        async with scripted_signer(relay.url, answer=swallow) as signer:
            app = RemoteSigner.from_uri(signer.uri, timeout=MACHINE, approval_timeout=60)
            await app.__aenter__()
            request = asyncio.create_task(
                outcome("signer killed with the request", app.sign_event(NOTE))
            )
            await got.wait()
        try:
            assert await request == "SignerOffline"
            assert took() < 10
        finally:
            await app.__aexit__(None, None, None)


async def test_signer_restarted_with_the_request() -> None:
    """The signer forgets the request in a restart that no relay tells of: asked again, signed."""
    async with world() as w:
        w.app._link.patience = replace(w.app._link.patience, approval=60)

        def forget_first(asked: Asked) -> Iterable[Any]:
            lost = asked.method == "sign_event" and w.signer.methods().count("sign_event") == 1
            return [] if lost else [w.signer.good(asked)]

        w.signer.answer = forget_first
        word = await outcome("signer restarted with the request", w.app.sign_event(NOTE))
        assert word == "signed"
        assert took() < 10


async def test_signer_that_waits_for_its_owner() -> None:
    """auth_url, and nobody agrees: WaitingForApproval after the time of a person."""
    async with world() as w:
        w.signer.answer = lambda asked: [
            {"id": asked.id, "result": "auth_url", "error": "https://example.com/yes"}
        ]
        word = await outcome("owner never agrees at the auth_url", w.app.sign_event(NOTE))
        assert word == "WaitingForApproval"
        assert HUMAN - 0.5 < took() < HUMAN + SLACK


async def test_signer_that_says_nothing() -> None:
    """Delivered and never answered: RequestTimeout that says so, after the time of a person."""
    async with world() as w:
        w.signer.answer = lambda asked: []
        word = await outcome("signer never answers", w.app.sign_event(NOTE))
        assert word == "RequestTimeout"
        assert took() < HUMAN + SLACK


async def test_signer_that_is_locked() -> None:
    """A locked key is an error of its own."""
    async with world() as w:
        w.signer.answer = lambda asked: [
            {"id": asked.id, "result": "error", "error": "locked: unlock the signer first"}
        ]
        word = await outcome("signer locked", w.app.sign_event(NOTE))
        assert word == "SignerLocked"


ERRORS: dict[str, dict[str, Any]] = {
    'error "denied", result ""': {"result": "", "error": "denied"},
    'error "denied", no result': {"error": "denied"},
    'error "denied", result null': {"result": None, "error": "denied"},
    'error "denied", result "error"': {"result": "error", "error": "denied"},
    "error an object": {"error": {"code": 1, "message": "denied"}},
}


@pytest.mark.parametrize("fault", ERRORS)
async def test_error_shapes(fault: str) -> None:
    """Each of the five shapes of an error is a denial, at once."""
    async with world() as w:
        w.signer.answer = lambda asked: [{"id": asked.id, **ERRORS[fault]}]
        assert await outcome(fault, w.app.sign_event(NOTE)) == "RequestDenied"
        assert took() < MACHINE + SLACK


async def test_responses_out_of_order_and_twice() -> None:
    """Ten requests answered in reverse, each answer twice: every caller gets its own."""
    held: list[Any] = []

    async with world() as w:

        def hold(asked: Asked) -> Iterable[Any]:
            held.append(w.signer.good(asked))
            return [item for item in reversed(held) for _ in range(2)] if len(held) == 10 else []

        w.signer.answer = hold

        async def ask_all() -> None:
            events = await asyncio.gather(
                *(w.app.sign_event({**NOTE, "content": str(number)}) for number in range(10))
            )
            assert [event.content for event in events] == [str(number) for number in range(10)]

        assert await outcome("10 responses in reverse order, twice each", ask_all()) == "signed"


async def test_response_from_a_stranger() -> None:
    """A stranger answers first, with the right id: it is not heard."""
    async with world() as w:

        def leak(asked: Asked) -> Iterable[Any]:
            forged = {"id": asked.id, "result": "error", "error": "forged"}
            sending.append(
                asyncio.create_task(w.signer.send(asked.client, forged, key=secret_key(66)))
            )
            return [w.signer.good(asked)]

        sending: list[asyncio.Task[Any]] = []
        w.signer.answer = leak
        assert await outcome("response from a stranger first", w.app.sign_event(NOTE)) == "signed"
        await asyncio.gather(*sending)


# --- against our own relay and signer ------------------------------------------------------------


@pytest.mark.parametrize("minutes", [10, -10])
async def test_clock_off(tmp_path: Path, minutes: int) -> None:
    """Our clock is ten minutes off: requests go by the relay's, and are signed."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
    ):
        app = RemoteSigner.from_uri(signer.uri, timeout=5, clock=lambda: time.time() + 60 * minutes)

        async def sign() -> None:
            async with app:
                await app.sign_event(NOTE)

        assert await outcome(f"client's clock off by {minutes} minutes", sign()) == "signed"


async def test_large_payload(tmp_path: Path) -> None:
    """100 KB of content and 100 KB to encrypt and to decrypt."""
    grants = "sign_event:1,nip44_encrypt,nip44_decrypt"
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow=grants) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=10) as app,
    ):
        text = "x" * 100_000

        async def use() -> None:
            assert (await app.sign_event({**NOTE, "content": text})).content == text
            peer = secret_key(9).pubkey
            payload = await app.nip44_encrypt(peer, text)
            assert await app.nip44_decrypt(peer, payload) == text

        assert await outcome("100 KB to sign, encrypt and decrypt", use()) == "signed"
