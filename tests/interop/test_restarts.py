"""The relay goes and comes back: other projects' subscribers and signers have to, too.

All of them stay connected through one story: both workers are restarted one after the other, the
relay is stopped by SIGTERM as `systemctl restart` does, and killed. After each of them an event
has to reach every subscriber, and every signer has to sign.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage

from bunker.harness import RunningRelay, running_relay
from bunker_client import RemoteSigner
from bunker_core.keys import SecretKey
from interop.peers import (
    NOT_OFFERED,
    OK,
    Kind,
    Row,
    ended,
    go,
    launch,
    library_version,
    node,
    python,
    rust,
)
from support.wire import Peer, note

SUBSCRIBERS: Final[dict[str, tuple[Kind, str]]] = {
    "nostr-tools Relay": (node, "subscriber.mjs"),
    "nostr-tools SimplePool": (node, "subscriber.mjs"),
    "NDK": (node, "subscriber.mjs"),
    "applesauce": (node, "subscriber.mjs"),
    "welshman": (node, "subscriber.mjs"),
    "nostr_sdk": (python, "subscriber.py"),
}
# As signers; welshman has none, nostr_sdk's is rust-nostr's, and nostr-tools' is of its parts.
SIGNERS: Final[dict[str, tuple[Kind, str]]] = {
    "NDK": (node, "ndk_backend.mjs"),
    "applesauce": (node, "applesauce_provider.mjs"),
    "nostr-tools": (node, "nostr_tools_signer.mjs"),
    "go-nostr": (go, "go/signer"),
    "rust-nostr 0.44": (rust, "rust/signer"),
}
STAGES: Final = ("subscribed", "workers", "SIGTERM", "SIGKILL")
# Seen, whatever way any relay goes: it connects again after one second, if that comes to a
# WebSocket, and does not ask again for its subscriptions, not even then.
ASKS_ONCE: Final = ("NDK", "NDK, signing")
PATIENCE: Final = 30.0  # seconds for what takes a few at most
KEY: Final = SecretKey.generate()


@dataclass(slots=True)
class Program:
    """A program of another project, and what it has told so far."""

    process: asyncio.subprocess.Process
    told: list[dict[str, Any]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Take what it tells, until it ends."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            if raw.startswith(b"{"):
                self.told.append(json.loads(raw))
                self.more.set()

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first line that is `wanted`."""
        while True:
            for line in self.told:
                if wanted(line):
                    return line
            self.more.clear()
            await self.more.wait()

    async def get(self, name: str) -> str:
        """Return what it tells under a name."""
        return str((await self.until(lambda line: name in line))[name])


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[Program]:
    """Run a program; it is gone when the context ends."""
    process = await launch(*command, stderr=asyncio.subprocess.DEVNULL)
    running = Program(process)
    async with ended(process, running.read):
        yield running


@dataclass(slots=True)
class Story:
    """Everybody who is connected, and how it went for each."""

    tag: str = KEY.pubkey[:8]
    subscribers: dict[str, Program] = field(default_factory=dict)
    signers: dict[str, RemoteSigner] = field(default_factory=dict)
    outcomes: dict[str, dict[str, str]] = field(default_factory=dict)

    async def stage(self, name: str, url: str) -> None:
        """Note for everybody whether the relay reaches them now."""
        heard = {
            library: asyncio.create_task(told.until(lambda line: line.get("event") == name))
            for library, told in self.subscribers.items()
        }
        signed = {
            f"{library}, signing": asyncio.create_task(
                signer.sign_event({"kind": 1, "content": name})
            )
            for library, signer in self.signers.items()
        }
        tasks: dict[str, asyncio.Task[Any]] = {**heard, **signed}
        publishing = asyncio.create_task(self._publish(name, url))
        excused = ASKS_ONCE if name != STAGES[0] else ()
        awaited = [task for who, task in tasks.items() if who not in excused]
        await asyncio.wait(awaited, timeout=PATIENCE)
        publishing.cancel()
        for who, task in tasks.items():
            told = OK if task.done() and not task.exception() else "failed: deaf"
            self.outcomes.setdefault(who, {})[name] = NOT_OFFERED if who in excused else told
            task.cancel()
        await asyncio.wait([publishing, *tasks.values()])
        for task in (publishing, *tasks.values()):
            if not task.cancelled():
                task.exception()  # it has been looked at

    async def _publish(self, content: str, url: str) -> None:
        """Publish until all have heard it: nobody stores an ephemeral event."""
        async with Peer(url) as peer:
            number = 0
            while True:
                number += 1
                tags = (("t", self.tag), ("n", str(number)))
                event = note(KEY, content, kind=20001, tags=tags)
                accepted, reason = await peer.publish(event)
                assert accepted, reason
                loop = asyncio.get_running_loop()
                pause = loop.create_future()
                loop.call_later(0.2, pause.set_result, None)
                await pause


async def _restart_workers(relay: RunningRelay) -> None:
    """Stop one worker after the other, the second when the first is there again."""
    children = Path(f"/proc/{relay.process.pid}/task/{relay.process.pid}/children")
    for pid in children.read_text().split():
        os.kill(int(pid), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            while pid in (now := children.read_text().split()) or len(now) < 2:
                await _served(relay)
            await asyncio.gather(*(_served(relay) for _ in range(12)))  # one is at the new worker


async def _served(relay: RunningRelay) -> None:
    """Connect and ask something."""
    # It may have met the worker that stops, before its handshake or after.
    with suppress(ConnectionClosed, InvalidMessage):
        async with Peer(relay.url) as peer:
            await peer.unread()


async def play(directory: Path) -> Story:
    """Tell the story."""
    story = Story()
    data, workers = directory / "relay", ("--workers", "2")
    async with AsyncExitStack() as stack:
        async with running_relay(data, arguments=workers) as relay:
            url, port = relay.url, relay.port
            for library, (kind, script) in SUBSCRIBERS.items():
                command = (*kind(script), library, url, story.tag)
                story.subscribers[library] = await stack.enter_async_context(program(*command))
            for library, (kind, script) in SIGNERS.items():
                peer = await stack.enter_async_context(program(*kind(script), url))
                async with asyncio.timeout(PATIENCE):
                    uri = await peer.get("uri")
                    signer = RemoteSigner.from_uri(uri, approval_timeout=PATIENCE)
                    story.signers[library] = await stack.enter_async_context(signer)
            async with asyncio.timeout(PATIENCE):
                for subscriber in story.subscribers.values():
                    await subscriber.get("subscribed")
            await story.stage("subscribed", url)
            await _restart_workers(relay)
            await story.stage("workers", url)
            await relay.terminate()
        async with running_relay(data, port=port, arguments=workers) as relay:
            await story.stage("SIGTERM", url)
            await relay.kill()
        async with running_relay(data, port=port, arguments=workers):
            await story.stage("SIGKILL", url)
    return story


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story, told once."""
    for kind, script in (*SUBSCRIBERS.values(), *SIGNERS.values()):
        assert kind(script)  # skips without Node.js, Go or cargo
    return asyncio.run(play(tmp_path_factory.mktemp("restarts")))


@pytest.mark.parametrize("who", [*SUBSCRIBERS, *(f"{library}, signing" for library in SIGNERS)])
def test_it_is_back_after_every_restart(who: str, story: Story, row: Row) -> None:
    """By itself, whichever way the relay went."""
    library = who.removesuffix(", signing")
    library = library if library in SIGNERS else library.partition(" ")[0]
    row.name = f"{library_version(library)}{who.removeprefix(library)}, through restarts"
    row.operations, row.outcomes = STAGES, story.outcomes[who]
    if who in ASKS_ONCE:
        row.notes.append("does not ask again for its subscriptions, whatever way the relay went")
    row.expect(not_offered=STAGES[1:] if who in ASKS_ONCE else ())
