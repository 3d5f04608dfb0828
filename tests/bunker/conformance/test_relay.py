"""The kit judges relays: ours passes, and broken ones are convicted of what is broken in them."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from bunker.conformance.case import Level, Verdict
from bunker.conformance.relay import CASES
from bunker.conformance.relay.kit import Target, kit, running
from bunker.conformance.wire.stage import Message, StageRelay, Visitor, stage_relay
from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, parse_event, verify
from bunker_core.filter import parse_filter
from support.judged import convicted, judged, reasons

# What our relay does not do yet, with its reason; the table says the same.
OURS_LACKS: dict[str, str] = {}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_there_are_sixty_cases_and_each_says_what_it_is() -> None:
    """Every case has an id of its own, a source, what is sent and what is expected."""
    assert len(CASES) >= 60
    assert len({item.id for item in CASES}) == len(CASES)
    for item in CASES:
        assert item.id.startswith("relay/")
        assert item.source
        assert item.sent.endswith((".", "?")), item.id
        assert item.expected.endswith("."), item.id


async def test_our_relay_passes(tmp_path: Path) -> None:
    """Our relay, started and ended by the kit, passes every MUST and SHOULD."""
    port = free_port()
    command = (sys.executable, "-m", "bunker", "relay", "run", "--port", str(port))
    target = Target(f"ws://127.0.0.1:{port}", (*command, "--data", str(tmp_path / "relay")), 10.0)
    async with running(target) as make_kit:
        results = await judged(CASES, make_kit, again=make_kit)
    wrong = {name for name in convicted(results) if results[name].case.level is not Level.MAY}
    assert wrong <= set(OURS_LACKS), reasons(results)
    assert not [r for r in results.values() if r.verdict is Verdict.NOT_RUN]


async def test_a_relay_that_is_away_is_convicted_not_an_accident(dead_url: str) -> None:
    """Nobody listens there: a verdict with words, no traceback."""
    results = await judged(CASES, lambda trace: kit(Target(dead_url), trace), "relay/24133/forw")
    [result] = results.values()
    assert result.verdict is Verdict.FAIL
    assert result.reason.startswith("no connection")


class Checked(StageRelay):
    """The stage's relay, which checks what it carries: no fault of its own."""

    async def handle(self, visitor: Visitor, message: Message) -> None:
        match message:
            case ["EVENT", dict(value)]:
                try:
                    event = verify(parse_event(value))
                except InvalidEvent as error:
                    await visitor.send("OK", value.get("id", ""), False, f"invalid: {error}")
                    return
                await self.carry(visitor, event)
            case _:
                await super().handle(visitor, message)

    async def carry(self, visitor: Visitor, event: Event) -> None:
        met = await self.forward(event)
        await visitor.send("OK", event.id, True, "" if met else "mute: nobody listens")


class Keeps(Checked):
    """Stores requests and gives them to who comes later."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Event] = []

    async def carry(self, visitor: Visitor, event: Event) -> None:
        self.kept.append(event)
        await super().carry(visitor, event)

    async def handle(self, visitor: Visitor, message: Message) -> None:
        if message[0] == "REQ":
            filters = [parse_filter(item) for item in message[2:]]
            for event in self.kept:
                if any(item.matches(event) for item in filters):
                    await visitor.send("EVENT", message[1], event.to_dict())
        await super().handle(visitor, message)


class MutesAsFalse(Checked):
    """Says OK false when nobody listens."""

    async def carry(self, visitor: Visitor, event: Event) -> None:
        met = await self.forward(event)
        await visitor.send("OK", event.id, bool(met), "" if met else "mute: nobody listens")


class IgnoresP(Checked):
    """Sends every request to every subscriber."""

    async def forward(self, event: Event, only: Visitor | None = None) -> int:
        met = 0
        for visitor in list(self.visitors):
            for name in list(visitor.subscriptions):
                met += 1
                await visitor.send("EVENT", name, event.to_dict())
        return met


class NoEose(Checked):
    """Sends no EOSE to a filter with limit 0."""

    async def handle(self, visitor: Visitor, message: Message) -> None:
        if message[0] == "REQ" and message[2].get("limit") == 0:
            visitor.subscriptions[message[1]] = (parse_filter(message[2]),)
            return
        await super().handle(visitor, message)


async def judge(relay: StageRelay, prefix: str, patience: float = 20.0) -> Any:
    await relay.start()
    try:
        target = Target(relay.url, patience=patience)
        return await judged(CASES, lambda trace: kit(target, trace), prefix)
    finally:
        await relay.stop()


async def test_a_sound_relay_is_not_convicted() -> None:
    """What the broken relays below are made from passes the cases that they fail."""
    results = await judge(Checked(), "relay/24133/")
    # It knows no event twice, and says so of none.
    assert convicted(results) == {"relay/24133/once"}, reasons(results)


@pytest.mark.parametrize(
    ("broken", "prefix", "ids"),
    [
        (Keeps, "relay/24133/not-s", {f"relay/24133/not-stored{end}" for end in ("", "-unheard")}),
        (MutesAsFalse, "relay/24133/mute", {"relay/24133/mute-is-no-failure"}),
        (IgnoresP, "relay/24133/not-to", {"relay/24133/not-to-others"}),
        (IgnoresP, "relay/filter/p", {"relay/filter/p"}),
        (NoEose, "relay/req/eose", {"relay/req/eose-limit-0"}),
        (StageRelay, "relay/event/wrong-", {"relay/event/wrong-id", "relay/event/wrong-signature"}),
    ],
)  # fmt: skip
async def test_a_broken_relay_is_convicted(
    broken: type[StageRelay], prefix: str, ids: set[str]
) -> None:
    """Each fault is found by the case that is named after it, and by no other of its chapter."""
    patience = 2.0 if broken is NoEose else 20.0  # the one that is waited for in vain
    assert convicted(await judge(broken(), prefix, patience)) == ids


async def test_a_relay_that_sends_without_end_is_left() -> None:
    """5,000 messages that nobody asked for are the end of a case, not of the kit's memory."""

    async def flood(visitor: Visitor, message: Message) -> bool:
        for number in range(6_000):
            await visitor.send("NOTICE", f"{number}")
        return True

    async with stage_relay(flood) as relay:
        target = Target(relay.url, patience=20.0)
        results = await judged(CASES, lambda trace: kit(target, trace), "relay/req/eose-limit-0")
    [result] = results.values()
    assert result.reason == "sends without end: 5000 messages before the EOSE"


async def test_silence_is_said_with_its_seconds() -> None:
    """A relay that answers nothing hangs, after as long as the kit was told to wait."""

    async def mute(visitor: Visitor, message: Message) -> bool:
        return True

    async with stage_relay(mute) as relay:
        target = Target(relay.url, patience=0.2)
        results = await judged(CASES, lambda trace: kit(target, trace), "relay/event/ok")
    [result] = results.values()
    assert (result.verdict, result.reason) == (Verdict.HANGS, "no OK within 0.2 s")
    assert result.trace[0].text.startswith('["EVENT"')
