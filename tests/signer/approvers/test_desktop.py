"""A desktop notification, over a bus of the test's own and a service that shows what it is told."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bunker_core.event import EventTemplate
from bunker_core.nips.nip46 import Method
from bunker_signer.approvers.desktop import DesktopApprover, DesktopError, desktop
from bunker_signer.policy import Action
from bunker_signer.request.approval import Item, Question, Verdict
from support.dbus import session_bus
from support.require import need

NAME = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A session bus."""
    need(importlib.util.find_spec("jeepney"), "jeepney, of requirements/protectors.txt")
    with session_bus() as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield


class Service:
    """Shows notifications: keeps what was shown, and taps."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.shown: asyncio.Queue[tuple[int, tuple[Any, ...]]] = asyncio.Queue()
        self.closed: asyncio.Queue[int] = asyncio.Queue()

    async def serve(self) -> None:
        from jeepney import MessageType, new_error, new_method_return

        count = 0
        while True:
            message = await self.connection.receive()
            if message.header.message_type is not MessageType.method_call:
                continue
            member = {field.name: value for field, value in message.header.fields.items()}["member"]
            if member == "GetServerInformation":
                reply = new_method_return(message, "ssss", ("test", "test", "1", "1.2"))
            elif member == "Notify":
                count += 1
                self.shown.put_nowait((count, message.body))
                reply = new_method_return(message, "u", (count,))
            elif member == "CloseNotification":
                self.closed.put_nowait(message.body[0])
                reply = new_method_return(message)
            else:
                reply = new_error(message, "org.freedesktop.DBus.Error.UnknownMethod")
            await self.connection.send(reply)

    async def tap(self, number: int, action: str) -> None:
        await tap(self.connection, number, action)


async def tap(connection: Any, number: int, action: str) -> None:
    """Send the signal of a tap."""
    from jeepney import DBusAddress, new_signal

    emitter = DBusAddress(PATH, interface=NAME)
    await connection.send(new_signal(emitter, "ActionInvoked", "us", (number, action)))


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    from jeepney import message_bus
    from jeepney.io.asyncio import open_dbus_connection

    connection = await open_dbus_connection(bus="SESSION")
    await connection.send(message_bus.RequestName(NAME))
    made = Service(connection)
    serving = asyncio.create_task(made.serve())
    try:
        yield made
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await connection.close()


def question(content: str = "hello", kind: int = 1, *tags: tuple[str, ...]) -> Question:
    item = Item(Action(Method.SIGN_EVENT, kind=kind), "d", EventTemplate(kind, content, tags, 100))
    return Question("f00d", "default", "ab" * 32, "<b>App</b>", (item,), 100.0, 160.0)


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[DesktopApprover, Service]]:
    async with service() as made:
        async with asyncio.timeout(10):
            while True:
                try:
                    context = desktop(lambda: 100.0)
                    approver = await context.__aenter__()
                    break
                except DesktopError:
                    continue  # the name is not there yet
        try:
            yield approver, made
        finally:
            await context.__aexit__(None, None, None)


@pytest.mark.parametrize(("action", "verdict"), [("once", Verdict.ONCE), ("deny", Verdict.DENY)])
@pytest.mark.usefixtures("bus")
async def test_a_tap_answers(action: str, verdict: Verdict) -> None:
    """What fits is shown whole, with both answers; markup of an app does nothing."""
    async with asking() as (approver, made):
        answer = asyncio.create_task(approver.ask(question("<i>hello</i>")))
        number, (_, _, _, summary, body, actions, _, left) = await made.shown.get()
        assert "asks: Post a note" in summary
        assert "&lt;i&gt;hello" in body
        assert actions == ["deny", "Deny", "once", "Allow once"]
        assert left == 60_000
        await made.tap(number + 1, action)  # another notification's
        await made.tap(number, action)
        assert (await answer).verdict is verdict
        assert await made.closed.get() == number


@pytest.mark.parametrize(
    "asked",
    [
        question("x" * 500),
        question("", 5, *(("e", f"{number:064x}") for number in range(30))),
        question("", 27235),  # it does not say where to
    ],
)
@pytest.mark.usefixtures("bus")
async def test_what_does_not_fit_is_not_allowed_from_here(asked: Question) -> None:
    """It says where to look; a tap that is not offered allows nothing."""
    async with asking() as (approver, made):
        answer = asyncio.create_task(approver.ask(asked))
        number, (_, _, _, _, body, actions, _, _) = await made.shown.get()
        assert actions == ["deny", "Deny"]
        assert "bunker signer requests (f00d)" in body
        await made.tap(number, "once")
        await made.tap(number, "deny")
        assert (await answer).verdict is Verdict.DENY


@pytest.mark.usefixtures("bus")
async def test_a_locked_key_is_not_allowed_from_here() -> None:
    """A notification asks for no passphrase."""
    async with asking() as (approver, made):
        approver.may_allow = lambda _: False
        answer = asyncio.create_task(approver.ask(question()))
        number, (_, _, _, _, _, actions, _, _) = await made.shown.get()
        assert actions == ["deny", "Deny"]
        await made.tap(number, "deny")
        await answer


@pytest.mark.usefixtures("bus")
async def test_somebody_else_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal of another program on the bus is no answer; over is over."""
    from jeepney.io.asyncio import open_dbus_connection

    async with asking() as (approver, made):
        answer = asyncio.create_task(approver.ask(question()))
        number, _ = await made.shown.get()
        stranger = await open_dbus_connection(bus="SESSION")
        await tap(stranger, number, "once")
        await stranger.close()
        await made.tap(number, "default")  # a tap on the text is no answer either
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        assert answer.cancelled()
        assert await made.closed.get() == number


async def test_without_a_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so in a sentence."""
    need(importlib.util.find_spec("jeepney"), "jeepney, of requirements/protectors.txt")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    with pytest.raises(DesktopError, match="--desktop"):
        async with desktop(lambda: 0.0):
            pass
