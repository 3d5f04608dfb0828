"""The owner's side with every library: one signer, all of them paired with it at the same time.

One story, told once for all libraries: what is granted and what is not, approval from another
shell, a locked key, a signer that is killed, a relay that dies. Nothing is assumed about a library:
each row of the matrix is what its own process reports.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from bunker.harness import RunningRelay, RunningSigner, running_relay, running_signer
from bunker_core.event import parse_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip04, nip44
from bunker_signer.control.protocol import send
from bunker_signer.policy import Grant
from interop.driven import LIBRARIES, Driven, LibraryError, Owner, driven, owner
from interop.peers import NOT_OFFERED, OK, Row, library_version

OPERATIONS: Final = (
    "permissions",
    "approval",
    "denial",
    "silence",
    "lock",
    "stays locked",
    "kill -9",
    "reconnect",
)
# Seen to come back to a relay only when they next have something to send: nostr-tools not before,
# NDK up to a minute after its last connection.
NEEDS_A_PUSH: Final = ("nostr-tools", "NDK", "NDK 2")
# Seen, and held at the end of the story: snstr connects anew and does not subscribe anew; Snort
# tries after 4, 8 and 16 seconds, and gives every request up after 30.
DEAF_AFTERWARDS: Final = ("snstr", "Snort")
# Its signer throws "not implemented" for NIP-44.
NIP04_ALONE: Final = ("Snort",)
# A log-in of go-nostr may hang by chance (see go/main.go): its user would try again.
TRIES: Final = {"go-nostr": 3}
NOTES: Final = {
    "nostr-tools": "reconnect: with its next request",
    "NDK": "reconnect: with its next request, or within a minute",
    "NDK 2": "reconnect: with its next request, or within a minute",
    "snstr": "reconnect: connects, and often does not subscribe again",
    "Snort": "reconnect: yes; gives a request up after 30 s",
}
PATIENCE: Final = 30.0  # seconds for what takes a few at most


@dataclass(slots=True)
class Story:
    """All clients, their rows, and what the owner has at hand."""

    data: Path
    owner: Owner
    clients: dict[str, Driven]
    rows: dict[str, Row]
    signed: dict[str, str] = field(default_factory=dict)  # event ids, and who has the event

    async def bunker(self, *arguments: str) -> str:
        """Run `bunker signer ...` in another shell; return what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bunker", "signer", *arguments, "--data", str(self.data)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, error = await process.communicate()
        assert process.returncode == 0, error.decode()
        return said.decode()

    async def told(self, wanted: Callable[[dict[str, Any]], bool], count: int) -> list[Any]:
        """Return the next notices to the owner, fewer if they do not come."""
        notices: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(PATIENCE):
                while len(notices) < count:
                    notices += filter(wanted, [await self.owner.notice()])
        except TimeoutError:
            pass  # the rows of those that did not ask will say so
        return notices

    async def questions(self) -> list[str]:
        """Wait until the owner was told of a request of each client; return their ids."""
        notices = await self.told(lambda notice: notice["request"] != "", len(self.clients))
        return [notice["request"] for notice in notices]

    async def waiting(self) -> None:
        """Wait until the owner was told of the lock, and a request of each client waits."""
        await self.told(lambda notice: "locked" in notice["title"], 1)
        async with asyncio.timeout(PATIENCE):
            count = 0
            while count < len(self.clients):
                status = await asyncio.to_thread(send, self.data, "status")
                count = status["keys"][0]["waiting"]

    async def signatures(self, operation: str, futures: dict[str, "asyncio.Future[Any]"]) -> None:
        """Note for every library whether its event came, signed by the user."""

        async def signed(library: str) -> None:
            async with asyncio.timeout(PATIENCE):
                event = verify(parse_event(await futures[library]))
            assert event.pubkey == self.clients[library].user
            assert event.content == f"{operation}, {library}"
            self.signed[event.id] = library

        for library in futures:
            await self.rows[library].attempt(operation, lambda: signed(library))  # noqa: B023

    async def refusals(
        self, operation: str, word: str, futures: dict[str, "asyncio.Future[Any]"]
    ) -> None:
        """Note for every library whether its caller is told why, by the stable word."""

        async def refused(library: str) -> None:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(LibraryError, match=re.escape(word)) as error:
                    await futures[library]
            self.rows[library].texts[operation] = str(error.value)

        for library in futures:
            await self.rows[library].attempt(operation, lambda: refused(library))  # noqa: B023

    def ask(self, operation: str, kind: int) -> dict[str, "asyncio.Future[Any]"]:
        """Have every client ask for a signature."""
        return {
            library: client.sign(kind, f"{operation}, {library}")
            for library, client in self.clients.items()
        }


async def play(directory: Path) -> Story:
    """Tell the story; what went wrong is in the rows."""
    async with AsyncExitStack() as stack:
        person = await stack.enter_async_context(owner(directory / "owner"))
        clients = {
            library: await stack.enter_async_context(driven(library)) for library in LIBRARIES
        }
        rows = {library: Row(f"{library_version(library)}, its owner") for library in clients}
        story = Story(directory / "signer", person, clients, rows)
        relay = await stack.enter_async_context(running_relay(directory / "relay"))
        async with signer(story, relay, "--approval-timeout", "1"):
            await pair(story)
            await impatience(story)
        async with signer(story, relay) as running:
            await permissions(story)
            await approval(story)
            await lock(story)
            waiting = story.ask("kill -9", 7)
            await story.questions()
            await running.kill()
        async with signer(story, relay):
            await story.bunker("approve", *await story.questions())
            await story.signatures("kill -9", waiting)
            await reconnect(story, relay, directory / "relay")
        await once(story)
    return story


@asynccontextmanager
async def signer(
    story: Story, relay: RunningRelay, *arguments: str
) -> AsyncIterator[RunningSigner]:
    """Run the signer, with the owner told by its hook."""
    options = ("--ask", "--notify", story.owner.hook, *arguments)
    async with running_signer(story.data, [relay.url], arguments=options) as running:
        yield running


async def pair(story: Story) -> None:
    """Pair every client; all that they are granted is to sign notes."""
    grants = [Grant("sign_event", "1").to_json()]
    for library, client in list(story.clients.items()):
        for tries_left in range(TRIES.get(library, 1) - 1, -1, -1):
            uri = await asyncio.to_thread(send, story.data, "invite", key="default", grants=grants)
            try:
                async with asyncio.timeout(PATIENCE):
                    await client.connect(uri)
                break
            except (LibraryError, TimeoutError) as error:
                if tries_left:
                    continue
                story.rows[library].outcomes["permissions"] = f"failed: not connected: {error}"
                del story.clients[library]  # the others go on


async def impatience(story: Story) -> None:
    """Nobody answers, nobody unlocks: every caller learns which of the two it was."""
    await story.bunker("lock")
    locked, asked = story.ask("stays locked", 1), story.ask("silence", 7)
    await story.questions()
    await story.refusals("stays locked", "locked: ", locked)
    await story.refusals("silence", "expired: ", asked)
    await story.bunker("unlock")


async def permissions(story: Story) -> None:
    """What is granted is signed unasked; another kind, and reading messages, is asked about."""
    await story.signatures("permissions", story.ask("permissions", 1))
    sender = SecretKey.generate()
    reading = {}
    for library, client in story.clients.items():
        shared_x = sender.shared_x(client.user)
        payload = nip44.encrypt("private", nip44.conversation_key(shared_x))
        if library in NIP04_ALONE:
            payload = nip04.encrypt("private", shared_x)
        reading[library] = client.decrypt(sender.pubkey, payload)
    signing = story.ask("denial", 7)
    await story.bunker("deny", *await story.questions(), *await story.questions())
    for library, future in reading.items():
        scheme = "nip04" if library in NIP04_ALONE else "nip44"
        await story.refusals("permissions", f"denied: {scheme}_decrypt:", {library: future})
    await story.refusals("denial", "denied: sign_event:7", signing)


async def approval(story: Story) -> None:
    """A request waits for the other shell."""
    waiting = story.ask("approval", 7)
    await story.bunker("approve", *await story.questions())
    await story.signatures("approval", waiting)


async def lock(story: Story) -> None:
    """What is granted waits for the unlock."""
    await story.bunker("lock")
    waiting = story.ask("lock", 1)
    await story.waiting()
    await story.bunker("unlock")
    await story.signatures("lock", waiting)


async def reconnect(story: Story, relay: RunningRelay, directory: Path) -> None:
    """The relay dies while requests wait, and is there again when they are approved."""
    waiting = story.ask("reconnect", 7)
    questions = await story.questions()
    await relay.kill()
    port = relay.port
    async with running_relay(directory, port=port):
        await story.bunker("approve", *questions)
        for library in waiting.keys() & set(NEEDS_A_PUSH):
            story.clients[library].sign(1, "push")
        deaf = {library: waiting.pop(library) for library in waiting.keys() & set(DEAF_AFTERWARDS)}
        await story.signatures("reconnect", waiting)
    for library, future in deaf.items():
        back = future.done() and not future.cancelled() and future.exception() is None
        story.rows[library].outcomes["reconnect"] = OK if back else NOT_OFFERED


async def once(story: Story) -> None:
    """What was signed was decided about once, by the audit log."""
    said = await story.bunker("audit", "--json", "--outcome", "allowed", "--method", "sign_event")
    ids = [json.loads(line)["event_id"] for line in said.splitlines()]
    for event_id, library in story.signed.items():
        if ids.count(event_id) != 1:
            story.rows[library].outcomes["kill -9"] = f"failed: {ids.count(event_id)} decisions"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story, told once."""
    commands = [kind(script) for kind, script in LIBRARIES.values()]  # skips without Node.js
    assert commands
    return asyncio.run(play(tmp_path_factory.mktemp("owner")))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_lives_with_its_owner(library: str, story: Story, row: Row) -> None:
    """Every caller gets its signature or a reason that starts with a word that it can rely on."""
    told = story.rows[library]
    row.name, row.operations = told.name, OPERATIONS
    row.outcomes, row.texts = told.outcomes, told.texts
    if library in NOTES:
        row.notes.append(NOTES[library])
    deaf = library in DEAF_AFTERWARDS and told.outcomes.get("reconnect") == NOT_OFFERED
    row.expect(not_offered=("reconnect",) if deaf else ())
