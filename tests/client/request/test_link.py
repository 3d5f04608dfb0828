"""The way to a signer, by relays and answers that a test gives by hand."""

import asyncio
import json

import pytest

from bunker_client.errors import (
    ConnectionEnded,
    InvalidReply,
    RelayUnreachable,
    RequestDenied,
    RequestTimeout,
    SignerOffline,
)
from bunker_client.request import link as module
from bunker_client.request.call import Action, Patience
from bunker_client.request.link import LOOK_BACK
from bunker_client.request.places import AT_ONCE
from bunker_client.request.progress import Step
from bunker_core.errors import PoolError
from bunker_core.event import sign_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.channel import rpc_template
from bunker_core.nips.nip46 import Request, Response
from bunker_core.pool import ConnectionState, Incoming
from client.request._end import NOW, ONE, PATIENCE, TWO, End, settle


async def test_a_call_is_one_request_and_one_answer() -> None:
    """To the signer, by the relays' clock; nothing is kept of it, and each step is told once."""
    async with End() as end:
        end.relays.ahead = 90
        watched = end.link.progress()
        call = await end.begin("sign_event")
        (sent,) = end.relays.sent
        assert ("p", end.signer.pubkey) in sent.event.tags
        assert sent.event.created_at == NOW + 90
        assert (end.request().method, end.request().params) == ("sign_event", ("x",))
        end.receipt()
        await end.answer("signed")
        assert await call == "signed"
        assert end.relays.forgotten == [sent]
        assert end.link._calls == {}
        assert [item.step for item in end.steps] == [Step.SENT, Step.DELIVERED, Step.ANSWERED]
        assert {item.method for item in end.steps} == {"sign_event"}
    assert [item async for item in watched] == end.steps


async def test_what_an_app_may_choose() -> None:
    """And what it has without a choice."""
    link = End().link
    assert (link.relay_check_interval, link.accept_created_at) == (3600, False)
    link = End(relay_check_interval=5, accept_created_at=True).link
    assert (link.relay_check_interval, link.accept_created_at) == (5, True)


async def test_a_place_is_held_while_a_request_is_on_its_way() -> None:
    """So many at once; a ping needs none, and what waits for a person holds none."""
    async with End() as end:
        calls = [await end.begin() for _ in range(AT_ONCE + 2)]
        assert len(end.relays.sent) == AT_ONCE
        ping = await end.begin("ping")
        assert end.request().method == "ping"
        await end.answer("pong")
        assert (await ping, len(end.relays.sent)) == ("pong", AT_ONCE + 1)
        first, second = end.request(0).id, end.request(1).id
        await end.hear(Response(first, "done"))
        assert (calls[0].done(), len(end.relays.sent)) == (True, AT_ONCE + 2)
        await end.hear(Response(second, "auth_url", "https://example.com/yes"))
        assert (calls[1].done(), len(end.relays.sent)) == (False, AT_ONCE + 3)
        for at in range(1, len(end.relays.sent)):
            await end.hear(Response(end.request(at).id, "done"))
        assert set(await asyncio.gather(*calls)) == {"done"}
        assert end.link._places._free._value == AT_ONCE


async def test_a_signer_that_does_not_answer_is_pinged_and_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a while; when it is there, the request may be lost, and is sent again."""
    monkeypatch.setattr("bunker_client.request.call._PROBE_PAUSE", 0.001)
    async with End() as end:
        call = await end.begin()
        end.receipt()
        await end.relays.has_sent(2)
        assert end.request().method == "ping"
        await end.answer("locked")
        await end.relays.has_sent(3)
        assert end.request() == end.request(0)
        assert end.steps[-1].step is Step.LOCKED
        await end.answer()
        assert await call == "done"


async def test_a_ping_without_an_answer_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it was for goes on waiting."""
    caplog.set_level("DEBUG")
    async with End() as end:

        async def late(*_: object) -> str:
            raise RequestTimeout("ping", 1.0, "nobody answered")

        monkeypatch.setattr(end.link, "call", late)
        await end.link._probe()
        assert "does not answer a ping" in caplog.text
        assert end.relays.sent == []


async def test_what_it_listens_for() -> None:
    """The signer's answers to this client, from a while ago on, by the clock that is behind."""
    async with End() as end:
        (subscription,) = end.relays.subscriptions
        wanted = subscription.wanted
        assert wanted.kinds == frozenset({24133})
        assert wanted.authors == frozenset({end.signer.pubkey})
        assert wanted.tags == (("p", frozenset({end.key.pubkey})),)
        assert wanted.since == NOW - LOOK_BACK
        assert subscription.served
        assert end.relays.waits == [10.0, 10.0]
        end.relays.ahead = -300
        await end.link.adopt(end.signer.pubkey)
        await settle()
        assert end.relays.subscriptions[1].wanted.since == NOW - 300 - LOOK_BACK
        assert (subscription.closed, subscription.served) == (True, False)
        assert end.relays.subscriptions[1].served
    assert not end.relays.subscriptions[1].served
    assert end.relays.entered == 0


@pytest.mark.parametrize("what", ["unreachable", "silent"])
async def test_without_a_relay_there_is_no_link(what: str) -> None:
    """Within the time of a round trip, and what was opened is closed."""
    end = End(timeout=0.5)
    setattr(end.relays, what, True)
    with pytest.raises(RelayUnreachable):
        await end.link.__aenter__()
    assert (end.relays.entered, end.relays.waits[0]) == (0, 0.5)


async def test_after_the_end_nothing_is_asked() -> None:
    """The error names the method."""
    async with End() as end:
        steps = end.link.progress()
    with pytest.raises(ConnectionEnded, match="ping"):
        await end.link.call("ping", (), PATIENCE)
    assert [step async for step in steps] == []
    assert end.relays.sent == []


async def test_only_the_signer_answers_and_only_what_was_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not a stranger, not a request, not another id; and what can't be read is passed over."""
    caplog.set_level("DEBUG")
    async with End() as end:
        call = await end.begin()
        asked = end.request().id
        await end.hear(Response(asked, "forged"), SecretKey.generate())
        await end.hear(Request(str(asked), "ping", ()))
        await end.hear(Response("other", "wrong"))
        broken = sign_event(rpc_template("garbage", end.key.pubkey, NOW), end.signer)
        end.relays.subscriptions[-1].take(Incoming(verify(broken), ONE))
        await settle()
        assert "is no response" in caplog.text
        assert not call.done()
        await end.answer("right")
        assert await call == "right"
        await end.hear(Response(asked, "again"))
        assert end.strangers == []


async def test_who_writes_to_an_invitation_is_told() -> None:
    """Before there is a signer; from then on it is listened to alone."""
    async with End(known=False) as end:
        assert end.link.remote is None
        assert end.relays.subscriptions[0].wanted.authors is None
        other = SecretKey.generate()
        await end.hear(Response("1", "secret"), other)
        await end.hear(Request("2", "connect", ()), end.signer)
        assert [author for author, _ in end.strangers] == [other.pubkey, end.signer.pubkey]
        await end.link.adopt(end.signer.pubkey)
        await settle()
        assert end.link.remote == end.signer.pubkey
        assert end.relays.subscriptions[1].wanted.authors == {end.signer.pubkey}
        await end.hear(Response("3", "x"), other)
        assert len(end.strangers) == 2


async def test_a_second_opinion_outweighs_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another signer on the same key may allow what the first refuses; an error has to wait."""
    monkeypatch.setattr(module, "SECOND_OPINION", 60)
    async with End() as end:
        call = await end.begin()
        await end.answer(None, "denied: no")
        assert not call.done()
        await end.answer("signed")
        assert await call == "signed"
        monkeypatch.setattr(module, "SECOND_OPINION", 0)
        call = await end.begin()
        await end.answer(None, "denied: no")
        with pytest.raises(RequestDenied, match="denied: no"):
            await call
        assert end.steps[-1].step in (Step.ANSWERED, Step.FAILED)


@pytest.mark.parametrize(
    ("method", "result", "good"),
    [
        ("nip44_encrypt", "", False),
        ("nip44_encrypt", None, False),
        ("nip44_decrypt", "", True),
        ("nip44_decrypt", None, False),
        ("switch_relays", None, True),
        ("nip44_encrypt", "x", True),
    ],
)
async def test_an_answer_without_a_result(method: str, result: str | None, good: bool) -> None:
    """Nothing is encrypted to nothing; a decrypted text may be empty, and other answers null."""
    async with End() as end:
        call = await end.begin(method)
        await end.hear(json.dumps({"id": end.request().id, "result": result}))
        if good:
            assert await call == (result or "")
        else:
            with pytest.raises(InvalidReply, match=method):
                await call


async def test_a_page_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often the signer names it; what the app does with it does not end the call."""
    pages: list[str] = []

    def show(page: str) -> None:
        pages.append(page)
        raise KeyError("the app's fault")

    async with End(on_auth_url=show) as end:
        call = await end.begin()
        for _ in range(2):
            await end.answer("auth_url", "https://example.com/yes")
            assert pages == ["https://example.com/yes"]
        assert "can't be taken" in caplog.text
        await end.answer("signed")
        assert await call == "signed"
        told = [item.step for item in end.steps]
        assert told == [Step.SENT, Step.WAITING_FOR_APPROVAL, Step.ANSWERED]
        assert end.steps[1].auth_url == pages[0]


async def test_what_has_no_answer_is_asked_again_where_a_relay_is_back() -> None:
    """As a fresh event with the same id; not where the event of before was sent just now."""
    async with End() as end:
        call = await end.begin()
        first = end.request()
        end.link._resend(TWO)  # the pool sends it to a relay that was not there
        assert len(end.relays.sent) == 1
        before = end.link._calls[first.id].call.sent_at
        end.link._resend(ONE)
        assert len(end.relays.sent) == 2
        assert end.link._calls[first.id].call.sent_at > before
        for url in (ONE, TWO):
            number = len(end.relays.sent)
            end.link._calls[first.id].tried = (ONE, TWO)
            end.link._resend(url)
            assert len(end.relays.sent) == number + 1
            assert end.relays.forgotten[-1] is end.relays.sent[-2]
        assert {end.request(at).id for at in range(4)} == {first.id}
        assert len({sent.event.id for sent in end.relays.sent}) == 4
        await end.answer()
        assert await call == "done"
        assert set(end.relays.forgotten) == set(end.relays.sent)


async def test_a_relay_that_was_not_tried_is_tried_from_then_on() -> None:
    """Back a second time, it is asked again."""
    async with End() as end:
        call = await end.begin()
        for expected in (1, 2):
            end.link._resend(TWO)
            assert len(end.relays.sent) == expected
        await end.answer()
        await call


async def test_a_move_takes_what_is_unanswered_along() -> None:
    """The old relays are left once the new ones are live; without that nothing changes."""
    async with End() as end:
        call = await end.begin()
        end.relays.silent = True
        with pytest.raises(PoolError):
            await end.link.move_to([TWO, ONE])
        assert (end.relays.relay_urls, len(end.relays.sent)) == ((ONE,), 1)
        end.relays.silent = False
        await end.link.move_to([ONE, TWO, TWO])
        assert (end.relays.relay_urls, len(end.relays.sent)) == ((ONE, TWO), 1)
        await end.link.move_to([TWO])
        assert (end.relays.relay_urls, len(end.relays.sent)) == ((TWO,), 2)
        await end.answer()
        assert await call == "done"
    with pytest.raises(RuntimeError, match="inside the context"):
        await End().link.move_to([TWO])


async def test_a_signer_that_is_offline_is_told() -> None:
    """A caller that does not want to wait hears it at once, and nothing is left of the call."""
    async with End() as end:
        call = await end.begin(patience=Patience(machine=60, offline=0.0))
        end.receipt(reason="mute: nobody", accepted=True)
        with pytest.raises(SignerOffline):
            await call
        assert end.link._calls == {}
        assert end.relays.forgotten == end.relays.sent
        assert end.steps[-1].step is Step.FAILED


async def test_without_a_relay_the_pool_is_hurried() -> None:
    """The call waits for one, and goes on when it is there."""
    async with End() as end:
        end.relays.open_relays = ()
        call = await end.begin()
        assert end.relays.hurried > 0
        assert [item.step for item in end.steps] == [Step.QUEUED]
        end.relays.open_relays = (ONE,)
        end.link._resend(ONE)
        await settle()
        assert end.steps[-1].step.value == "sent"
        end.receipt()
        await settle()
        assert end.steps[-1].step is Step.DELIVERED
        await end.answer()
        assert await call == "done"


async def test_a_relay_that_is_lost_wakes_who_waits() -> None:
    """The request is queued again as soon as that is known."""
    async with End() as end:
        call = await end.begin()
        end.relays.open_relays = ()
        end.link._wake()
        await settle()
        assert [item.step for item in end.steps] == [Step.SENT, Step.QUEUED]
        await end.answer()
        assert await call == "done"


async def test_a_probe_asks_the_signer_what_it_is_at() -> None:
    """One at a time; a signer that is gone meanwhile is asked again for all that was asked."""
    async with End() as end:
        call = await end.begin()
        end.receipt()
        await settle()
        pending = end.link._calls[end.request().id]
        for _ in range(2):
            end.link._act(Action.PROBE, pending)
            await settle()
        assert (end.request().method, len(end.relays.sent)) == ("ping", 2)
        assert not end.link._remote.answers_pings
        await end.answer("locked")
        assert (end.link._remote.locked, end.link._remote.answers_pings) == (True, True)
        end.link._act(Action.PROBE, pending)
        await settle()
        assert len(end.relays.sent) == 3
        end.receipt(reason="mute: nobody")
        await settle()
        methods = [end.request(at).method for at in range(len(end.relays.sent))]
        assert methods == ["sign_event", "ping", "ping", "sign_event"]
        await end.answer()
        assert await call == "done"


async def test_relays_that_owe_an_answer_are_checked() -> None:
    """Those, and no others."""
    async with End() as end:
        call = await end.begin()
        (pending,) = end.link._calls.values()
        end.link._act(Action.CHECK_RELAYS, pending)
        assert end.relays.checked == [{ONE}]
        await end.answer()
        await call


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (0.4, ""),
        (1, "; this machine's clock is 1 s behind the relays'"),
        (600, "; this machine's clock is 600 s behind the relays'"),
        (-600, "; this machine's clock is 600 s ahead of the relays'"),
    ],
)
async def test_a_clock_that_is_off_is_named(ahead: float, said: str) -> None:
    """In the words of an error, and which way."""
    end = End()
    end.relays.ahead = ahead
    assert end.link._clock_fault() == said


async def test_what_is_seen_of_the_relays() -> None:
    """Who has answered, who owes an answer, and whether one is still in its first attempts."""
    async with End() as end:
        call = await end.begin()
        (pending,) = end.link._calls.values()
        view = end.link._view(pending)
        assert (view.receipts, view.owing, view.connected) == ((), [ONE], (ONE,))
        assert (view.connecting, view.relay_errors) == (False, "")
        end.receipt()
        end.relays.relay_urls = (ONE, TWO)
        view = end.link._view(pending)
        assert (len(view.receipts), view.owing, view.connecting) == (1, [], False)
        end.relays.status = lambda: {  # type: ignore[method-assign]
            ONE: (ConnectionState.OPEN, None),
            TWO: (ConnectionState.CONNECTING, None),
        }
        assert end.link._view(pending).connecting
        end.relays.status = lambda: {  # type: ignore[method-assign]
            ONE: (ConnectionState.OPEN, None),
            TWO: (ConnectionState.WAITING, None),
        }
        assert not end.link._view(pending).connecting
        end.relays.open_relays = ()
        assert end.link._view(pending).relay_errors == "refused"
        await end.answer()
        await call
