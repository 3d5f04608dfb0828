"""The kit judges signers: ours passes, and broken ones are convicted of what is broken in them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bunker.conformance.case import Level, Result, Verdict
from bunker.conformance.signer import CASES
from bunker.conformance.signer.kit import Target, alone, running
from bunker.conformance.signer.source import Commanded, Owned, Running
from bunker.conformance.wire import rpc
from bunker.conformance.wire.peer import Peer
from bunker.conformance.wire.trace import Trace
from bunker.testbed import Signer, Testbed
from bunker_core.event import parse_event, parse_template, sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips.channel import Scheme
from support.judged import convicted, judged, reasons

ALLOW = "sign_event:1,sign_event:3,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"
# What our signer does not do yet, with its reason; the table says the same.
OURS_LACKS: dict[str, str] = {}


class Ours:
    """Our signer in this process: the same parts as the command, and a start takes no second."""

    several_relays = True

    def __init__(self, bed: Testbed) -> None:
        self.bed = bed

    async def start(self, relays: Sequence[str]) -> Running:
        return _Started(await asyncio.to_thread(self._start, relays))

    async def accept(self, relays: Sequence[str], invitation: str) -> Running:
        signer = await asyncio.to_thread(self._start, relays)
        await asyncio.to_thread(signer.accept, invitation, ALLOW)
        return _Started(signer)

    def _start(self, relays: Sequence[str]) -> Signer:
        number = len(self.bed.signers)
        path = self.bed._path(f"conformance-{number}-{len(relays)}-{SecretKey.generate().pubkey}")
        return Signer(self.bed._thread, relays, path, {}, allow=ALLOW)


class _Started:
    def __init__(self, signer: Signer) -> None:
        self.signer = signer

    async def uri(self) -> str:
        return await asyncio.to_thread(lambda: self.signer.uri)

    async def end(self) -> None:
        await asyncio.to_thread(self.signer.close)


def test_there_are_sixty_cases_and_each_says_what_it_is() -> None:
    """Every case has an id of its own, a source, what is sent and what is expected."""
    assert len(CASES) >= 60
    for item in CASES:
        assert item.id.startswith("signer/")
        assert item.source
        assert item.sent, item.id
        assert item.expected.endswith("."), item.id


async def test_our_signer_passes() -> None:
    """Our signer, on relays of the kit that also go wrong, passes every MUST and SHOULD."""
    with Testbed() as bed:
        target = Target(Ours(bed), 5.0)
        async with running(target) as make_kit:
            results = await judged(CASES, make_kit, again=alone(target))
    wrong = {name for name in convicted(results) if results[name].case.level is not Level.MAY}
    assert wrong <= set(OURS_LACKS), reasons(results)
    assert not [r for r in results.values() if r.verdict is Verdict.NOT_RUN], reasons(results)


async def test_a_running_signer_is_judged_by_its_uri_and_no_secret_is_shown() -> None:
    """With a URI alone nothing is started; what needs more is "not run", and says so."""
    with Testbed() as bed:
        signer = bed.signer(allow=ALLOW)
        uris = [signer.uri, signer.uri]
        async with running(Target(Owned(list(uris)))) as make_kit:
            chosen = [item for item in CASES if item.keyless]
            results = await judged(chosen, make_kit, "signer/connect/")
            results |= await judged(chosen, make_kit, "signer/relay/dropped")
    assert not convicted(results), reasons(results)
    assert results["signer/relay/dropped"].verdict is Verdict.NOT_RUN
    shown = "\n".join(str(line) for result in results.values() for line in result.trace)
    assert "(the secret)" in shown
    for uri in uris:
        assert uri.partition("secret=")[2] not in shown


async def test_a_command_that_ends_is_said_with_its_last_words() -> None:
    """Who gives a wrong command reads why it ended."""
    command = (sys.executable, "-c", "print('no relay today')")
    with pytest.raises(Exception, match="ended before it printed a URI: no relay today"):
        async with running(Target(Commanded(command))):
            pass


class Simple:
    """A small signer of this test's; `broken` names what is wrong with it."""

    several_relays = True

    def __init__(self, broken: str = "") -> None:
        self.broken = broken

    async def accept(self, relays: Sequence[str], invitation: str) -> Running:
        raise NotImplementedError

    async def start(self, relays: Sequence[str]) -> Running:
        signer = _Simple(self.broken, relays[0])
        await signer.begin()
        return signer


class _Simple:
    def __init__(self, broken: str, relay: str) -> None:
        self.broken = broken
        self.transport, self.user = SecretKey.generate(), SecretKey.generate()
        self.peer = Peer("signer", relay, Trace(), 60.0)
        self.clients: set[str] = set()
        self.task: asyncio.Task[None] | None = None
        self.url = relay

    async def begin(self) -> None:
        await self.peer.open()
        await self.peer.subscribe("s", {"kinds": [24133], "#p": [self.transport.pubkey]})
        self.task = asyncio.create_task(self.serve())

    async def uri(self) -> str:
        return f"bunker://{self.transport.pubkey}?relay={self.url}&secret=0123456789"

    async def end(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.peer.close()

    async def serve(self) -> None:
        while True:
            message = await self.peer.until(lambda m: m[0] == "EVENT")
            event = parse_event(message[2])
            text, scheme = rpc.open_event(self.transport, event)
            asked = json.loads(text)
            value = {"id": asked["id"]} | self.answer(event.pubkey, asked)
            if self.broken == "silent to unknown" and "error" in value:
                continue
            if self.broken == "answers in nip04":
                scheme = Scheme.NIP04
            author = self.user if self.broken == "answers as the user" else self.transport
            answer, _ = rpc.seal(author, event.pubkey, value, scheme=scheme)
            await self.peer.send("EVENT", answer)

    def answer(self, client: str, asked: dict[str, Any]) -> dict[str, Any]:
        match asked["method"], asked["params"]:
            case "connect", [_, "0123456789", *_]:
                self.clients.add(client)
                return {"result": "ack"}
            case _ if client not in self.clients and self.broken != "signs for all":
                return {"result": "error", "error": "not paired"}
            case "ping", _:
                return {"result": "PONG" if self.broken == "pong" else "pong"}
            case "get_public_key", _:
                return {"result": self.user.pubkey}
            case "sign_event", [template]:
                found = json.loads(template)
                if self.broken == "rewrites":
                    found["created_at"] += 1
                return {"result": sign_event(parse_template(found), self.user).to_json().decode()}
        return {"result": "error", "error": "unknown"}


@asynccontextmanager
async def broken(fault: str, patience: float = 20.0) -> AsyncIterator[Callable[..., Any]]:
    async with running(Target(Simple(fault), patience)) as make_kit:
        yield make_kit


SOME = "signer/method/sign-event", "signer/method/ping", "signer/error/unknown", "signer/error/str"


async def some(make_kit: Callable[..., Any]) -> dict[str, Result]:
    chosen = [
        item
        for item in CASES
        if item.id.startswith((*SOME, "signer/wire/nip44", "signer/error/get-relays"))
        and item.id
        not in {
            f"signer/method/sign-event-{name}"
            for name in ("other-pubkey", "object", "no-tags", "pubkey-id")
        }
    ]
    return await judged(chosen, make_kit)


async def test_a_sound_signer_is_not_convicted() -> None:
    """What the broken ones below are made from passes the cases that they fail."""
    async with broken("") as make_kit:
        results = await some(make_kit)
    assert not convicted(results), reasons(results)


@pytest.mark.parametrize(
    ("fault", "ids"),
    [
        ("pong", {"signer/method/ping"}),
        ("rewrites", {"signer/method/sign-event-unchanged"}),
        ("silent to unknown", {"signer/error/unknown-method", "signer/error/get-relays"}),
        ("signs for all", {"signer/error/stranger", "signer/error/stranger-unsigned"}),
        ("answers in nip04", {"signer/wire/nip44"}),
    ],
)
async def test_a_broken_signer_is_convicted(fault: str, ids: set[str]) -> None:
    """Each fault is found by the cases that are named after it, and by no other."""
    patience = 2.0 if fault.startswith("silent") else 20.0  # the one that is waited for in vain
    async with broken(fault, patience) as make_kit:
        results = await some(make_kit)
    assert convicted(results) == ids, reasons(results)
