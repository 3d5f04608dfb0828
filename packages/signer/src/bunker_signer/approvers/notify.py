"""Telling the owner, wherever they are: an ntfy topic, a webhook, or a command.

None of them is told any content: they belong to somebody else, or end in a log.
"""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from bunker_core.errors import BunkerError
from bunker_signer.approvers.describe import headline
from bunker_signer.process.logs import get_logger
from bunker_signer.request.approval import Answer, Question

TIMEOUT: Final = 10.0  # seconds for a server or a command

log = get_logger(__name__)


class HookError(BunkerError):
    """A notification hook that can't be read."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the owner is told. `deadline` is Unix seconds, 0 for none; `link` may be empty."""

    title: str
    text: str
    deadline: int = 0
    link: str = ""
    request: str = ""  # the question's id, for `bunker signer approve`


class Hook(Protocol):
    """One way to reach the owner; raises OSError when it fails."""

    async def send(self, notice: Notice) -> None: ...


class Ntfy:
    """Publishes to an ntfy topic (https://docs.ntfy.sh/publish/)."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def send(self, notice: Notice) -> None:
        # JSON to the server's root: header fields could not carry the name of a client.
        parts = urlsplit(self._url)
        body = {"topic": parts.path.strip("/"), "title": notice.title, "message": notice.text}
        if notice.link:
            body["click"] = notice.link
        await _post(f"{parts.scheme}://{parts.netloc}/", body)


class Webhook:
    """Posts the notice as JSON."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def send(self, notice: Notice) -> None:
        await _post(self._url, asdict(notice))


class Command:
    """Runs a program with the notice as JSON on its standard input. No shell is involved."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def send(self, notice: Notice) -> None:
        process = await asyncio.create_subprocess_exec(
            self._path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(TIMEOUT):
                await process.communicate(json.dumps(asdict(notice)).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise OSError(f"ended with {process.returncode}")


def parse_hook(text: str) -> Hook:
    """Read `ntfy:URL`, `webhook:URL` or `command:PATH`; raises HookError."""
    kind, _, rest = text.partition(":")
    if kind in ("ntfy", "webhook"):
        parts = urlsplit(rest)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise HookError(f"--notify {kind}: needs an http:// or https:// URL")
        if kind == "webhook":
            return Webhook(rest)
        if not parts.path.strip("/"):
            raise HookError("--notify ntfy: the URL has no topic, as in https://ntfy.sh/my-topic")
        return Ntfy(rest)
    if kind == "command" and rest:
        return Command(rest)
    raise HookError("--notify: one of ntfy:URL, webhook:URL, command:PATH")


class Notifier:
    """Tells all hooks; as an approver it passes questions on and leaves the answer to others."""

    def __init__(
        self,
        hooks: Sequence[Hook],
        link: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`link` is the address of a page to answer at; `{id}` in it becomes the question's."""
        self._hooks = tuple(hooks)
        self._link = link
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question) -> Answer:
        left = max(0, round(question.deadline - self._clock()))
        self.tell(
            Notice(
                "Nostr signature wanted",
                f"{headline(question)}. Answer within {left} s: "
                f"bunker signer approve {question.id}",
                int(question.deadline),
                self._link.replace("{id}", question.id),
                question.id,
            )
        )
        await asyncio.Event().wait()  # until it is cancelled: a notification can't answer
        raise AssertionError

    def tell(self, notice: Notice) -> None:
        """Send `notice` by all hooks, in the background."""
        for hook in self._hooks:
            task = asyncio.create_task(self._send(hook, notice))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is on its way; each hook has its own deadline."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, hook: Hook, notice: Notice) -> None:
        try:
            await hook.send(notice)
        except (OSError, TimeoutError) as error:
            log.warning("notification failed", hook=type(hook).__name__, error=str(error))


async def _post(url: str, body: object) -> None:
    request = urllib.request.Request(  # noqa: S310 -- parse_hook lets only http and https through
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "nostr-bunker"},
    )

    def post() -> None:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:  # noqa: S310 -- see above
            reply.read(1024)

    await asyncio.to_thread(post)
