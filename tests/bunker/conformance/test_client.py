"""The kit judges clients: ours passes, and broken ones are convicted of what is broken in them."""

import sys
from pathlib import Path

import pytest

from bunker.conformance.case import Level, Verdict
from bunker.conformance.client import CASES
from bunker.conformance.client.kit import Target, running
from support.judged import convicted, judged, reasons

OURS = Path(__file__).parents[2] / "interop" / "python" / "conformance_client.py"
NAIVE = Path(__file__).with_name("naive_client.py")
# What the small client below is judged by: it has neither invitations nor a second connection.
SMALL = (
    "client/login/pairs",
    "client/login/secret",
    "client/login/asks-user",
    "client/login/two-keys",
    "client/login/refused",
    "client/wire/id-text",
    "client/wire/nip44",
    "client/error/alone",
    "client/forged/other-author",
    "client/signed/other-",
)


def test_there_are_forty_cases_and_each_says_what_it_is() -> None:
    """Every case has an id of its own, a source, what is sent and what is expected."""
    assert len(CASES) >= 40
    for item in CASES:
        assert item.id.startswith("client/")
        assert item.source
        assert item.sent.endswith("."), item.id
        assert item.expected.endswith("."), item.id


async def test_our_client_passes() -> None:
    """Our client, with a relay and a signer of the kit that go wrong, passes every case."""
    target = Target((sys.executable, str(OURS), "ours", "6"), 5.0)
    async with running(target) as make_kit:
        results = await judged(CASES, make_kit, at_once=40, again=make_kit)
    wrong = {name for name in convicted(results) if results[name].case.level is not Level.MAY}
    assert not wrong, reasons(results)
    assert not [r for r in results.values() if r.verdict is Verdict.NOT_RUN]


async def judge(*fault: str) -> set[str]:
    target = Target((sys.executable, str(NAIVE), *fault), 0.5)
    async with running(target) as make_kit:
        results = await judged([c for c in CASES if c.id.startswith(SMALL)], make_kit)
    return convicted(results)


async def test_a_sound_client_is_not_convicted() -> None:
    """What the broken ones below are made from passes the cases that they fail."""
    assert await judge() == set()


@pytest.mark.parametrize(
    ("fault", "ids"),
    [
        ("no secret", {"client/login/secret"}),
        ("any author", {"client/forged/other-author"}),
        ("ids are numbers", {"client/wire/id-text"}),
        ("nip04", {"client/wire/nip44"}),
        ("takes any event", {f"client/signed/other-{what}" for what in ("content", "kind", "key")}),
        ("reads no errors", {"client/login/refused", "client/error/alone"}),
    ],
)
async def test_a_broken_client_is_convicted(fault: str, ids: set[str]) -> None:
    """Each fault is found by the cases that are named after it, and by no other."""
    assert await judge(fault) == ids


async def test_a_program_that_ends_is_said_with_its_last_words() -> None:
    """Who gives a wrong command reads why it ended, in every case."""
    command = (sys.executable, "-c", "print('no such library')")
    async with running(Target(command, 1.0)) as make_kit:
        results = await judged(CASES, make_kit, "client/login/pairs")
    [result] = results.values()
    assert result.verdict is Verdict.FAIL
    assert "ended: no such library" in result.reason
