"""The signer that the kit plays behind its relay: a good one, unless a case has it otherwise."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bunker.conformance.case import Silence
from bunker.conformance.wire import rpc
from bunker.conformance.wire.stage import StageRelay
from bunker.conformance.wire.trace import Trace
from bunker_core.errors import BunkerError
from bunker_core.event import Event, VerifiedEvent, parse_template, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips.bunker_uri import BunkerURI
from bunker_core.nips.channel import Scheme

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    client: str
    id: Any
    method: str
    params: list[Any]
    event: Event
    scheme: Scheme
    relay: str  # the URL of the relay that it came by first
    heard: bool  # whether the client was subscribed when it came

    def text(self, index: int) -> str:
        """Return a parameter, "" if it is missing or no text."""
        value = self.params[index] if index < len(self.params) else ""
        return value if isinstance(value, str) else ""


# Returns the responses to a request: each is sent as it is. An empty list is silence.
Answer = Callable[[Asked], Iterable[Any]]


class StageSigner:
    """Answers what comes to its relays; `on` has one method answered otherwise."""

    def __init__(self, relays: list[StageRelay], trace: Trace) -> None:
        self.transport, self.user = SecretKey.generate(), SecretKey.generate()
        self.secret = SecretKey.generate().pubkey[:32]
        self.relays = relays
        self.asked: list[Asked] = []
        self.skew = 0  # seconds that its clock is ahead
        self.scheme: Scheme | None = None  # that of the client's last request unless given
        self._spoken: dict[str, Scheme] = {}  # by client
        self._answers: dict[str, Answer] = {}
        self._trace = trace
        self._tasks: set[asyncio.Task[None]] = set()
        self._came = asyncio.Event()
        self._seen: set[str] = set()
        trace.hide(self.secret, "the secret")
        for relay in relays:
            relay.watch = partial(self._watch, relay)

    @property
    def uri(self) -> str:
        """The URI that pairs the client."""
        urls = tuple(relay.url for relay in self.relays)
        return str(BunkerURI(self.transport.pubkey, urls, self.secret))

    def on(self, method: str, answer: Answer) -> None:
        """Have requests of a method answered by `answer`."""
        self._answers[method] = answer

    def good(self, asked: Asked) -> Json:
        """Return what a good signer answers."""
        try:
            result = self._result(asked)
        except (BunkerError, ValueError) as error:
            return {"id": asked.id, "result": "error", "error": f"invalid: {error}"}
        if result is None:
            return {"id": asked.id, "result": "error", "error": "unsupported: unknown method"}
        return {"id": asked.id, "result": result}

    def requests(self, method: str) -> list[Asked]:
        """Return the requests of a method so far."""
        return [asked for asked in self.asked if asked.method == method]

    async def request(self, method: str, seconds: float, count: int = 1) -> Asked:
        """Return the request number `count` of a method; raises Silence."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.requests(method)) < count:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise Silence(f"request {method}", seconds) from None
        return self.requests(method)[count - 1]

    async def send(
        self,
        client: str,
        value: Any,
        *,
        key: SecretKey | None = None,
        scheme: Scheme | None = None,
        **changes: Any,
    ) -> None:
        """Send a response, by another key or with `changes` to its event if given."""
        author = key or self.transport
        event, text = rpc.seal(
            author,
            client,
            value,
            scheme=scheme or self.scheme or self._spoken.get(client, Scheme.NIP44),
            created_at=int(time.time()) + self.skew,
        )
        await self.publish(event, text, **changes)

    async def publish(self, event: VerifiedEvent, plain: str = "", **changes: Any) -> None:
        """Have the relays forward an event, its fields changed if told so."""
        sent = _changed(event, changes) if changes else event
        self._trace.add("signer", True, json.dumps(sent.to_dict()), plain)
        for relay in self.relays:
            await relay.forward(sent)

    def join(self, relay: StageRelay) -> None:
        """Listen on another relay too."""
        self.relays.append(relay)
        relay.watch = partial(self._watch, relay)

    async def close(self) -> None:
        """Answer no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def later(self, seconds: float, client: str, value: Any) -> None:
        """Send a response after a while."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            await self.send(client, value)

        self.soon(wait())

    def _watch(self, relay: StageRelay, event: Event) -> None:
        mine = self.transport.pubkey in event.tag_values("p")
        if event.kind != NOSTR_CONNECT or not mine or event.id in self._seen:
            return
        self._seen.add(event.id)
        with contextlib.suppress(BunkerError, ValueError):
            text, scheme = rpc.open_event(self.transport, event)
            self._trace.add("signer", False, json.dumps(event.to_dict()), text)
            value = json.loads(text)
            if not isinstance(value, dict):
                return
            self._spoken[event.pubkey] = scheme
            params = value.get("params")
            asked = Asked(
                event.pubkey,
                value.get("id"),
                str(value.get("method")),
                params if isinstance(params, list) else [],
                event,
                scheme,
                relay.url,
                relay.listens(event.pubkey),
            )
            self.asked.append(asked)
            self._came.set()
            self.soon(self._reply(asked))

    async def _reply(self, asked: Asked) -> None:
        answer = self._answers.get(asked.method)
        for value in [self.good(asked)] if answer is None else list(answer(asked)):
            await self.send(asked.client, value, scheme=self.scheme or asked.scheme)

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside everything else, until the case ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _result(self, asked: Asked) -> str | None:
        match asked.method:
            case "connect" | "logout":
                return "ack"
            case "ping":
                return "pong"
            case "get_public_key":
                return self.user.pubkey
            case "switch_relays":
                return "null"
            case "sign_event":
                template = parse_template(json.loads(asked.text(0)))
                return sign_event(template, self.user).to_json().decode()
            case "nip44_encrypt" | "nip04_encrypt":
                channel = rpc.channel(self.user, asked.text(0))
                return channel.seal(asked.text(1), Scheme(asked.method[:5]))
            case "nip44_decrypt" | "nip04_decrypt":
                return rpc.channel(self.user, asked.text(0)).open(asked.text(1))[0]
        return None


def _changed(event: VerifiedEvent, changes: dict[str, Any]) -> Event:
    fields = {name: getattr(event, name) for name in event.to_dict()}
    return Event(**(fields | changes))
