"""link.py, progress.py: where a request stands, told to a callback and to an iterator."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from bunker_client import (
    InvalidReply,
    Progress,
    RelayUnreachable,
    RemoteSigner,
    SignerOffline,
    Step,
)
from bunker_core.filter import parse_filter
from support.scripted import Asked, Message, Peer, ScriptedSigner, scripted_relay, scripted_signer

LONG = 10.0  # seconds; a step that takes that long has failed
NOTE = {"kind": 1, "content": "hello"}


async def test_a_callback_and_an_iterator_see_every_step() -> None:
    """Sent, delivered, waiting for approval at a page, answered: both see the same."""
    told: list[Progress] = []
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = lambda asked: [
            {"id": asked.id, "result": "auth_url", "error": "https://example.com/yes"},
            signer.good(asked),
        ]
        app = RemoteSigner.from_uri(signer.uri, timeout=LONG, on_progress=told.append)
        async with app:
            await app.relays_checked(LONG)
            told.clear()
            steps = app.progress()
            await app.sign_event(NOTE)
        seen = [progress async for progress in steps]
    assert seen == told
    assert [progress.step for progress in seen][-2:] == [Step.WAITING_FOR_APPROVAL, Step.ANSWERED]
    assert seen[0].step in (Step.SENT, Step.DELIVERED)
    assert {progress.method for progress in seen} == {"sign_event"}
    assert len({progress.request_id for progress in seen}) == 1
    assert seen[-2].auth_url == "https://example.com/yes"
    assert "https://example.com/yes" in str(seen[-2])


async def test_a_step_is_told_once() -> None:
    """A signer that names its page twice has its client told of it once."""
    told: list[Step] = []
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        app = RemoteSigner.from_uri(
            signer.uri, timeout=LONG, on_progress=lambda progress: told.append(progress.step)
        )
        async with app:
            await app.relays_checked(LONG)
            told.clear()
            signer.answer = lambda asked: [
                *[{"id": asked.id, "result": "auth_url", "error": "https://example.com/yes"}] * 2,
                signer.good(asked),
            ]
            await app.sign_event(NOTE)
    assert told.count(Step.WAITING_FOR_APPROVAL) == 1


async def test_nothing_is_asked_before_the_answer_can_be_heard() -> None:
    """A relay that does not say the subscription is live carries no request: it has failed."""

    async def no_eose_for_the_app(peer: Peer, message: Message) -> bool:
        if message[0] != "REQ" or "authors" not in message[2]:
            return False
        peer.subscriptions[message[1]] = tuple(map(parse_filter, message[2:]))
        return True

    async with scripted_relay(no_eose_for_the_app) as relay, scripted_signer(relay.url) as signer:
        app = RemoteSigner.from_uri(signer.uri, timeout=0.5)
        with pytest.raises(RelayUnreachable):
            await app.__aenter__()
        assert not relay.of_type("EVENT")


async def test_a_failure_is_the_last_step() -> None:
    """A request that is given up is told as failed, after what was wrong."""
    told: list[Step] = []
    async with scripted_relay() as relay:
        async with scripted_signer(relay.url) as signer:
            app = RemoteSigner.from_uri(
                signer.uri,
                timeout=LONG,
                offline_timeout=0.3,
                on_progress=lambda progress: told.append(progress.step),
            )
            await app.__aenter__()
            await app.relays_checked(LONG)
        try:
            told.clear()
            with pytest.raises(SignerOffline):
                await app.sign_event(NOTE)
        finally:
            await app.__aexit__(None, None, None)
    assert told[-2:] == [Step.SIGNER_OFFLINE, Step.FAILED]


# --- the signer's relays -----------------------------------------------------------------------


def naming(signer: ScriptedSigner, *relays: str) -> None:
    """Have the signer answer switch_relays with `relays`."""

    def answer(asked: Asked) -> Iterable[Any]:
        if asked.method == "switch_relays":
            return [{"id": asked.id, "result": json.dumps(relays)}]
        return [signer.good(asked)]

    signer.answer = answer


async def test_relays_that_can_not_be_reached_are_not_moved_to(dead_url: str) -> None:
    """A signer that names a dead relay does not cut its client off."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=0.5) as app,
    ):
        naming(signer, dead_url)
        with pytest.raises(InvalidReply, match="switch_relays"):
            await app.switch_relays()
        assert app.relays == (relay.url,)
        assert (await app.sign_event(NOTE)).kind == 1


async def test_a_list_without_end_is_refused() -> None:
    """A signer can't have its client connect to hundreds of addresses."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as app,
    ):
        naming(signer, *(f"ws://127.0.0.1:{port}" for port in range(1, 100)))
        with pytest.raises(InvalidReply, match="more than"):
            await app.switch_relays()
        assert app.relays == (relay.url,)


async def test_the_signer_is_asked_for_its_relays_at_intervals() -> None:
    """The signer moves while the app runs: the app follows by itself, requests and all."""
    async with (
        scripted_relay() as old,
        scripted_relay() as new,
        scripted_signer(old.url, new.url) as signer,
    ):
        signer.relays = [old.url]
        app = RemoteSigner.from_uri(signer.uri, timeout=LONG, relay_check_interval=0.05)
        async with app:
            naming(signer, new.url)
            await new.wait_for("REQ", 2)
            assert (await app.sign_event(NOTE)).kind == 1
            await new.wait_for("EVENT")


async def test_a_request_that_is_out_follows_the_move() -> None:
    """What was asked on the old relay and has no answer is asked again on the new one."""
    async with (
        scripted_relay() as old,
        scripted_relay() as new,
        scripted_signer(old.url, new.url) as signer,
    ):
        signer.relays = [old.url]
        async with RemoteSigner.from_uri(signer.uri, timeout=LONG, approval_timeout=2) as app:

            def on_the_new_one(asked: Asked) -> Iterable[Any]:
                moved = asked.event.id in [message[1]["id"] for message in new.of_type("EVENT")]
                return [signer.good(asked)] if moved else []

            signer.answer = on_the_new_one
            request = asyncio.create_task(app.sign_event(NOTE))
            await old.wait_for("EVENT", len(old.of_type("EVENT")) + 1)
            await app._link.move_to([new.url])
            assert (await request).kind == 1
