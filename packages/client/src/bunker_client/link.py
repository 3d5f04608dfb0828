"""The line to a remote signer: requests out, responses in, over whichever relay works."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Self

from bunker_client.errors import RelayUnreachable, RequestDenied, RequestTimeout
from bunker_core import nip44
from bunker_core.channel import Channel, rpc_template
from bunker_core.errors import BunkerError, PoolError
from bunker_core.event import Event, VerifiedEvent, sign_event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nip46 import Request, Response, parse_response
from bunker_core.pool import Publication, RelayPool, Subscription

LOOK_BACK: Final = 30  # seconds; a signer's clock may be behind ours
OPEN_TIMEOUT: Final = 10.0  # seconds for a first relay
# A second signer on the same key may refuse what the first one grants: an error waits this long
# for a success before it counts, in seconds.
SECOND_OPINION: Final = 0.3

log = logging.getLogger(__name__)


class Call:
    """A request that has no answer yet."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.publication: Publication | None = None
        self.auth_url: str | None = None
        self.deadline: asyncio.Timeout | None = None


class Link:
    """Requests and responses between `key` and one remote signer. An async context manager.

    `remote` is None while a nostrconnect:// invitation is out; then `on_stranger` is given every
    response together with its author.
    """

    def __init__(
        self,
        key: SecretKey,
        relays: Iterable[str],
        remote: str | None,
        *,
        approval_timeout: float,
        open_timeout: float = OPEN_TIMEOUT,
        on_auth_url: Callable[[str], None] | None = None,
        on_stranger: Callable[[str, Response], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.key = key
        self.remote = remote
        self.pool = RelayPool(
            relays,
            auth=[lambda template: sign_event(template, key)],
            on_open=self._resend,
            clock=clock,
        )
        self._approval_timeout = approval_timeout
        self._open_timeout = open_timeout
        self._on_auth_url = on_auth_url
        self._on_stranger = on_stranger
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        self._calls: dict[str | int, Call] = {}
        self._subscription: Subscription | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect and subscribe; raises RelayUnreachable."""
        await self.pool.__aenter__()
        try:
            await self._subscribe()
        except BaseException:
            await self.pool.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self.pool.__aexit__(None, None, None)

    async def adopt(self, remote: str) -> None:
        """Take `remote` as the signer and listen to it alone from now on."""
        self.remote = remote
        await self._subscribe()

    async def call(self, method: str, params: Iterable[str], timeout: float) -> str:
        """Send a request and return the text of its result.

        `timeout` is seconds of machine time; if the signer sends its user to a page first
        (auth_url), the user gets `approval_timeout` seconds from then on. Raises RequestTimeout
        and RequestDenied.
        """
        # 16 random bytes: ids that collide would mix up answers
        call = Call(Request(secrets.token_hex(16), method, tuple(params)))
        self._calls[call.request.id] = call
        try:
            async with asyncio.timeout(timeout) as call.deadline:
                self._send(call)
                response = await call.response
        except TimeoutError:
            waited = self._approval_timeout if call.auth_url else timeout
            raise RequestTimeout(method, waited, self._progress(call)) from None
        finally:
            del self._calls[call.request.id]
            if call.publication:
                call.publication.forget()
        if response.error is not None:
            raise RequestDenied(method, response.error)
        # Amber and applesauce answer `null` to switch_relays
        return response.result or ""

    # --- out -----------------------------------------------------------------------------------

    def _send(self, call: Call) -> None:
        if call.publication:
            call.publication.forget()
        call.publication = self.pool.publish(self._seal(call.request))

    def _seal(self, request: Request) -> Event:
        if self.remote is None:
            raise RuntimeError("no remote signer yet")
        content = self._channel(self.remote).seal(request.to_json())
        return sign_event(rpc_template(content, self.remote, int(self._clock())), self.key)

    def _resend(self, relay_url: str) -> None:
        """Ask again what has no answer, after a reconnect: the answer may have been missed.

        The event is fresh, because relays drop one they saw; the request id is the same, so that
        the signer repeats its answer instead of signing twice.
        """
        for call in self._calls.values():
            if call.publication and relay_url in call.publication.receipts:
                self._send(call)

    def _progress(self, call: Call) -> str:
        """Return which step of a request was the last to succeed, in words."""
        if call.auth_url:
            return f"the user has not approved at {call.auth_url}"
        receipts = list(call.publication.receipts.values()) if call.publication else []
        if any(receipt.delivered for receipt in receipts):
            return "the request was delivered, but the signer did not answer"
        if any(receipt.muted for receipt in receipts):
            return "no one is listening at the relay: the signer is offline"
        if receipts:
            return "refused: " + "; ".join(f"{r.relay_url}: {r.reason}" for r in receipts)
        if self.pool.open_relays:
            return f"{', '.join(self.pool.open_relays)} did not acknowledge the request"
        return f"no relay is connected: {self.pool.describe_errors()}"

    # --- in ------------------------------------------------------------------------------------

    async def _subscribe(self) -> None:
        """Subscribe before anything is published; raises RelayUnreachable."""
        wanted: dict[str, Any] = {"authors": frozenset({self.remote})} if self.remote else {}
        subscription = self.pool.subscribe(
            Filter(
                kinds=frozenset({NOSTR_CONNECT}),
                tags=(("p", frozenset({self.key.pubkey})),),
                since=int(self._clock()) - LOOK_BACK,
                **wanted,
            )
        )
        try:
            await self.pool.connected(self._open_timeout)
            await subscription.live(self._open_timeout)
        except PoolError as error:
            raise RelayUnreachable(str(error)) from None
        old, self._subscription = self._subscription, subscription
        if self._reader:
            self._reader.cancel()
        self._reader = asyncio.create_task(self._read(subscription))
        if old:
            old.close()

    async def _read(self, subscription: Subscription) -> None:
        async for incoming in subscription:
            try:
                self._receive(incoming.event)
            except BunkerError as error:
                log.debug("event %s is no response: %s", incoming.event.id, error)

    def _receive(self, event: VerifiedEvent) -> None:
        text, _ = self._channel(event.pubkey).open(event.content)
        response = parse_response(text)
        if self.remote is None:
            if self._on_stranger:
                self._on_stranger(event.pubkey, response)
            return
        call = self._calls.get(response.id)
        if call is None or call.response.done() or event.pubkey != self.remote:
            return  # a double, or the answer to a request that was given up
        if response.auth_url is not None:
            self._ask_user(call, response.auth_url)
        elif response.error is not None:
            asyncio.get_running_loop().call_later(SECOND_OPINION, _settle, call, response)
        else:
            _settle(call, response)

    def _ask_user(self, call: Call, url: str) -> None:
        if call.auth_url is not None:
            return
        call.auth_url = url
        if call.deadline:
            now = asyncio.get_running_loop().time()
            call.deadline.reschedule(now + self._approval_timeout)
        if self._on_auth_url:
            self._on_auth_url(url)

    def _channel(self, peer: str) -> Channel:
        channel = self._channels.get(peer)
        if channel is None:
            if len(self._channels) > 16:  # strangers, while an invitation is out
                self._channels.clear()
            conversation_key = nip44.conversation_key(self.key.shared_x(peer))
            channel = Channel(peer, conversation_key, self.key.shared_x)
            self._channels[peer] = channel
        return channel


def _settle(call: Call, response: Response) -> None:
    if not call.response.done():
        call.response.set_result(response)
