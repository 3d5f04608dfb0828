"""The approver at the terminal, over a real pseudo-terminal."""

import asyncio
import os
import pty
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

import pytest

from bunker_core.event import EventTemplate
from bunker_core.nips.nip46 import Method
from bunker_signer.approvers.describe import describe, headline
from bunker_signer.approvers.terminal import TerminalApprover
from bunker_signer.policy import Action
from bunker_signer.request.approval import TOGETHER, Item, Question, Verdict


@dataclass
class Terminal:
    """Both ends: what the person types and sees, what the program reads and writes."""

    person: int
    source: TextIO
    target: TextIO

    def type(self, text: str) -> None:
        os.write(self.person, text.encode())

    async def see(self, text: str) -> str:
        """Wait until `text` is on the screen; return all that is."""
        shown = ""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            while text not in shown:
                shown += (await loop.run_in_executor(None, os.read, self.person, 4096)).decode()
        return shown


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    person, program = pty.openpty()
    with (
        open(program, closefd=False) as source,
        open(program, "w", closefd=False) as target,
    ):
        yield Terminal(person, source, target)
    os.close(program)
    os.close(person)


def question(content: str = "hello", count: int = 1, name: str = "App") -> Question:
    template = EventTemplate(1, content, (("t", "x"),), 0)
    item = Item(Action(Method.SIGN_EVENT, kind=1), "d", template)
    return Question("abc123", "default", "ab" * 32, name, (item,) * count, 0.0, 60.0)


@pytest.mark.parametrize(
    ("typed", "verdict"),
    [
        ("y\n", Verdict.ONCE),
        ("YES\n", Verdict.ONCE),
        ("a\n", Verdict.ALWAYS),
        ("x\n", Verdict.NEVER),
        ("n\n", Verdict.DENY),
        ("\n", Verdict.DENY),
        ("what?\n", Verdict.DENY),
    ],
)
async def test_answers(terminal: Terminal, typed: str, verdict: Verdict) -> None:
    """What is not a clear yes is a no."""
    approver = TerminalApprover(terminal.source, terminal.target)
    asking = asyncio.create_task(approver.ask(question()))
    shown = await terminal.see("deny: ")
    assert "“App” (unverified name), key abababab…abababab, asks: Post a note" in shown
    assert "hello" in shown
    terminal.type(typed)
    answer = await asking
    assert (answer.verdict, answer.by) == (verdict, "terminal")


async def test_the_deadline_is_shown(terminal: Terminal) -> None:
    """A person sees how long there is to think."""
    approver = TerminalApprover(terminal.source, terminal.target, lambda: 18.0)
    asking = asyncio.create_task(approver.ask(question()))
    assert "42 s left" in await terminal.see("deny: ")
    terminal.type("n\n")
    await asking


async def test_what_was_typed_before_is_no_answer(terminal: Terminal) -> None:
    """A yes that was meant for a question which is over does not answer the next one."""
    approver = TerminalApprover(terminal.source, terminal.target)
    terminal.type("y\n")
    await terminal.see("y")  # the terminal's echo: it lies there, unread
    asking = asyncio.create_task(approver.ask(question()))
    await terminal.see("deny: ")
    terminal.type("n\n")
    assert (await asking).verdict is Verdict.DENY


async def test_one_question_at_a_time(terminal: Terminal) -> None:
    """A second question is shown when the first was answered, and gets the next line."""
    approver = TerminalApprover(terminal.source, terminal.target)
    first = asyncio.create_task(approver.ask(question("first")))
    second = asyncio.create_task(approver.ask(question("second")))
    shown = await terminal.see("deny: ")
    assert "second" not in shown
    terminal.type("y\n")
    assert (await first).verdict is Verdict.ONCE
    await terminal.see("second")
    terminal.type("n\n")
    assert (await second).verdict is Verdict.DENY


async def test_answered_elsewhere(terminal: Terminal) -> None:
    """When it is over the terminal says so, and reads the next answer for the next question."""
    approver = TerminalApprover(terminal.source, terminal.target)
    asking = asyncio.create_task(approver.ask(question()))
    await terminal.see("deny: ")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await terminal.see("answered elsewhere")
    again = asyncio.create_task(approver.ask(question("again")))
    await terminal.see("again")
    terminal.type("y\n")
    assert (await again).verdict is Verdict.ONCE


def test_no_control_characters_reach_the_screen() -> None:
    """Neither a content nor a name can move the cursor, hide text or turn its direction."""
    evil = "\x1b[2J\r\n\x07\u202e\x9b31m"
    shown = describe(question(evil + "x" * 3000, name=evil), 0)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert shown.count("x") < 1300
    assert "more characters" in shown


def test_bursts_are_shown_whole() -> None:
    """An approval is for what was shown, so all of it is."""
    many = question(count=TOGETHER)
    assert f"Post a note ({TOGETHER} times)" in headline(many)
    shown = describe(many, 0)
    assert f"{TOGETHER} of {TOGETHER}" in shown
    assert shown.count("hello") == TOGETHER


def test_where_a_login_goes_is_shown() -> None:
    """A web login names its address, a deletion says how many: not only that there are tags."""

    def asked(kind: int, *tags: tuple[str, ...]) -> str:
        item = Item(Action(Method.SIGN_EVENT, kind=kind), "d", EventTemplate(kind, "", tags, 0))
        return describe(Question("1", "default", "ab" * 32, "App", (item,), 0, 60), 0)

    assert "https://bank.example/transfer" in asked(
        27235, ("u", "https://bank.example/transfer"), ("method", "POST")
    )
    assert "wss://relay.example" in asked(22242, ("relay", "wss://relay.example"))
    many = asked(5, *(("e", f"{number:064x}") for number in range(300)))
    assert "300 posts would be deleted" in many
    assert "asks for the deletion of 300 posts" in many


def test_encryption_in_words() -> None:
    """Reading and writing are told apart, with the other's key, and the text to write."""
    reading = Item(Action(Method.NIP44_DECRYPT, peer="cd" * 32), "d")
    words = describe(Question("1", "work", "ab" * 32, "", (reading,), 0, 0), 0)
    assert words.startswith(
        "An app without a name, key abababab…abababab, asks: Read a message with npub1e"
    )
    assert "with the key work" in words
    writing = Item(Action(Method.NIP44_ENCRYPT, peer="cd" * 32), "d", text="the plan")
    assert "the plan" in describe(Question("1", "work", "ab" * 32, "", (writing,), 0, 0), 0)
