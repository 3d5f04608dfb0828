"""The way to a remote signer: requests out, responses in, over whichever relay works."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, Self

from bunker_client.errors import (
    ClientError,
    ConnectionEnded,
    InvalidReply,
    RelayUnreachable,
    SignerOffline,
    denial,
)
from bunker_client.request.call import (
    APPROVAL_TIMEOUT,
    REQUEST_TIMEOUT,
    Action,
    Call,
    Patience,
    View,
)
from bunker_client.request.options import Options
from bunker_client.request.pending import Pending
from bunker_client.request.places import Places
from bunker_client.request.progress import Progress, Step, Watchers
from bunker_client.request.remote import Remote
from bunker_core.errors import BunkerError, PoolError
from bunker_core.event import Event, VerifiedEvent, sign_event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips.channel import rpc_template
from bunker_core.nips.nip46 import ASK_STATE, Method, Request, Response
from bunker_core.pool import ConnectionState, Incoming, Receipt, RelayPool, Subscription

# Seconds into the past from which on answers are wanted. A signer's clock may be behind ours, and
# ours may be ahead: relays apply `since` to live events too. Requests have ids that nobody else
# knows, so an old answer can do no harm.
LOOK_BACK: Final = 900
OPEN_TIMEOUT: Final = 10.0  # seconds for a first relay
RELAY_CHECK_INTERVAL: Final = 3600.0  # seconds; NIP-46: "at reasonable intervals"
# A second signer on the same key may refuse what the first one grants: an error waits this long
# for a success before it counts, in seconds.
SECOND_OPINION: Final = 0.3
_ON_THE_WAY: Final = (Step.SENT, Step.DELIVERED)

log = logging.getLogger(__name__)


class Link:
    """Requests and responses between `key` and one remote signer. An async context manager.

    `remote` is None while a nostrconnect:// invitation is out; then `on_stranger` is given every
    response and request together with its author. `on_progress` is called with each step of each
    request.
    """

    def __init__(
        self,
        key: SecretKey,
        relays: Iterable[str],
        remote: str | None,
        options: Options,
        on_stranger: Callable[[str, Response | Request], None] | None = None,
    ) -> None:
        clock = options.get("clock", time.time)
        self.key = key
        self._remote = Remote(key, remote)
        self.patience = Patience(
            options.get("timeout", REQUEST_TIMEOUT),
            options.get("approval_timeout", APPROVAL_TIMEOUT),
            options.get("offline_timeout"),
        )
        self._open_timeout = min(OPEN_TIMEOUT, self.patience.machine)
        self.relay_check_interval = options.get("relay_check_interval", RELAY_CHECK_INTERVAL)
        self.accept_created_at = options.get("accept_created_at", False)
        self.pool = RelayPool(
            relays,
            auth=[lambda template: sign_event(template, key)],
            on_open=self._resend,
            on_lost=lambda _: self._wake(),
            clock=clock,
        )
        self._on_auth_url = options.get("on_auth_url")
        self._on_progress = options.get("on_progress")
        self._on_stranger = on_stranger
        self._clock = clock
        self._calls: dict[str | int, Pending] = {}
        self._watchers = Watchers()
        self._places = Places()
        self._subscription: Subscription | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ping: asyncio.Task[None] | None = None
        self._ended = False

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
        self._ended = True
        tasks = [task for task in (self._reader, self._ping) if task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._watchers.end()
        await self.pool.__aexit__(None, None, None)

    @property
    def remote(self) -> str | None:
        """The remote-signer pubkey, if there is one yet."""
        return self._remote.pubkey

    async def adopt(self, remote: str) -> None:
        """Take `remote` as the signer and listen to it alone from now on."""
        self._remote.pubkey = remote
        await self._subscribe()

    async def move_to(self, relays: Iterable[str]) -> None:
        """Use `relays` instead of the present ones, once the subscription is live on one of them.

        Raises PoolError when none of them answers in time; then nothing changes.
        """
        if self._subscription is None:
            raise RuntimeError("move_to is called inside the context")
        wanted = tuple(dict.fromkeys(relays))
        before = self.pool.relay_urls
        for relay in wanted:
            self.pool.add_relay(relay)
        try:
            await self._subscription.live(self._open_timeout, wanted)
        except PoolError:
            await self._leave(relay for relay in wanted if relay not in before)
            raise
        left = [relay for relay in before if relay not in wanted]
        await self._leave(left)
        if left:  # what is unanswered was asked where nobody listens any more
            for pending in self._calls.values():
                self._send(pending)

    async def call(self, method: str, params: Iterable[str], patience: Patience) -> str:
        """Send a request and return the text of its result.

        It waits first when many others are on the way; that counts in
        `patience.total` alone. Raises RelayUnreachable, RelayRefused, SignerOffline,
        RequestTimeout, WaitingForApproval, RequestDenied, SignerLocked, InvalidReply and
        ConnectionEnded.
        """
        if self._ended:
            raise ConnectionEnded(f"{method}: the connection to the signer is closed")
        # 16 random bytes: ids that collide would mix up answers
        request = Request(secrets.token_hex(16), method, tuple(params))
        now = asyncio.get_running_loop().time()
        waits = method != Method.PING.value  # a ping tells what becomes of the others
        if waits:
            now = await self._places.take(method, patience.total, now)
        pending = Pending(Call(request, patience, now))
        pending.has_place = waits
        self._calls[request.id] = pending
        try:
            self._send(pending)
            await asyncio.sleep(0)  # it is written in this turn, and looked at while it travels
            response = await self._drive(pending)
        except BaseException:
            pending.call.step = Step.FAILED
            raise
        finally:
            del self._calls[request.id]
            if pending.publication:
                pending.publication.forget()
            self._give_back(pending)
            self._show(pending)
        if response.error is not None:
            raise denial(method, response.error)
        # An app that takes "" for its list, encrypted, puts nothing in its place; a text that was
        # decrypted may be empty. Amber and applesauce answer `null` to switch_relays.
        missing = response.result is None or method.endswith("_encrypt")
        if missing and not response.result and method.endswith("crypt"):
            raise InvalidReply(f"{method}: the signer answered without a result")
        return response.result or ""

    def progress(self) -> AsyncIterator[Progress]:
        """Return an iterator of each step of each request from now on, until the link ends."""
        return self._watchers.watch()

    # --- out -----------------------------------------------------------------------------------

    async def _drive(self, pending: Pending) -> Response:
        """See the request through, until it is answered or its patience is over."""
        loop = asyncio.get_running_loop()
        while pending.response is None:
            actions, pause = pending.call.review(loop.time(), self._view(pending))
            for action in actions:
                self._act(action, pending)
            if pending.call.step not in _ON_THE_WAY:
                # Its answer is a matter of a person, or of somebody's return.
                self._give_back(pending)
            if pending.call.step is Step.QUEUED:
                self.pool.hurry()
            self._show(pending)
            await pending.news(pause)
        pending.call.step = Step.ANSWERED
        return pending.response

    def _give_back(self, pending: Pending) -> None:
        if pending.has_place:
            pending.has_place = False
            self._places.give_back()

    def _view(self, pending: Pending) -> View:
        publication = pending.publication
        connected = self.pool.open_relays
        return View(
            receipts=tuple(publication.receipts.values()) if publication else (),
            owing=[url for url in connected if publication and url in publication.awaited],
            connected=connected,
            connecting=len(connected) < len(self.pool.relay_urls)
            and any(
                state is ConnectionState.CONNECTING and error is None
                for state, error in self.pool.status().values()
            ),
            relay_errors="" if connected else self.pool.describe_errors(),
            heard_at=self._remote.heard_at,
            answers_pings=self._remote.answers_pings,
            locked=self._remote.locked,
            knows_method=self._remote.knows(pending.call.request.method),
            clock_fault=self._clock_fault(),
        )

    def _act(self, action: Action, pending: Pending) -> None:
        match action:
            case Action.SEND:
                self._send(pending)
            case Action.PROBE:
                if self._ping is None or self._ping.done():
                    self._ping = asyncio.create_task(self._probe())
            case Action.CHECK_RELAYS:
                if pending.publication:
                    self.pool.check(pending.publication.awaited)

    async def _probe(self) -> None:
        """Ask the signer whether it is there; if it is not, ask again for all that was asked."""
        try:
            patience = Patience(self.patience.machine, offline=0.0)
            state = await self.call(Method.PING.value, (ASK_STATE,), patience)
            self._remote.said_state(state)
        except SignerOffline:
            for pending in self._calls.values():
                self._send(pending)
        except ClientError as error:
            log.debug("the signer does not answer a ping: %s", error)

    def _send(self, pending: Pending) -> None:
        if pending.publication:
            pending.publication.forget()
        pending.publication = self.pool.publish(
            self._seal(pending.call.request),
            on_receipt=lambda receipt: self._take_receipt(pending, receipt),
        )
        pending.tried = self.pool.open_relays
        pending.call.sent(asyncio.get_running_loop().time())

    def _take_receipt(self, pending: Pending, receipt: Receipt) -> None:
        """Take a relay's OK; the task that waits for the answer is woken if it has to act."""
        now = asyncio.get_running_loop().time()
        if receipt.delivered and pending.call.delivered(now):
            self._show(pending)
        else:
            pending.wake()

    def _seal(self, request: Request) -> Event:
        remote, content = self._remote.seal(request)
        # Relays and signers drop what is minutes old or from the future: if our clock is wrong,
        # a request goes by theirs.
        return sign_event(rpc_template(content, remote, self.now()), self.key)

    def now(self) -> int:
        """Return Unix seconds by our clock, or by the relays' if ours is far off."""
        return int(self.pool.now())

    def _clock_fault(self) -> str:
        skew = round(self.pool.now() - self._clock())
        if not skew:
            return ""
        side = "behind" if skew > 0 else "ahead of"
        return f"; this machine's clock is {abs(skew)} s {side} the relays'"

    def _resend(self, relay_url: str) -> None:
        """Ask again what has no answer, after a reconnect: the answer may have been missed.

        The event is fresh, because relays and signers drop one that they saw; the request id is
        the same, so that the signer repeats its answer instead of signing twice.
        """
        for pending in self._calls.values():
            if relay_url in pending.tried:
                self._send(pending)
            else:  # the pool has sent it by now
                pending.tried += (relay_url,)
        self._wake()

    def _wake(self) -> None:
        for pending in self._calls.values():
            pending.wake()

    async def _leave(self, relays: Iterable[str]) -> None:
        for relay in tuple(relays):
            await self.pool.remove_relay(relay)

    def _show(self, pending: Pending) -> None:
        """Tell who wants to know, if the request has come to another step."""
        call = pending.call
        if call.step is pending.shown:
            return
        pending.shown = call.step
        if self._watchers:
            self._watchers.tell(call.progress)
        if self._on_progress:
            self._on_progress(call.progress)

    # --- in ------------------------------------------------------------------------------------

    async def _subscribe(self) -> None:
        """Subscribe before anything is published; raises RelayUnreachable."""
        try:  # what the relays' clocks say is known once one is connected
            await self.pool.connected(self._open_timeout)
        except PoolError as error:
            raise RelayUnreachable(str(error)) from None
        wanted: dict[str, Any] = {"authors": frozenset({self.remote})} if self.remote else {}
        subscription = self.pool.subscribe(
            Filter(
                kinds=frozenset({NOSTR_CONNECT}),
                tags=(("p", frozenset({self.key.pubkey})),),
                since=min(int(self._clock()), self.now()) - LOOK_BACK,
                **wanted,
            )
        )
        try:
            await subscription.live(self._open_timeout)
        except PoolError as error:
            raise RelayUnreachable(str(error)) from None
        old, self._subscription = self._subscription, subscription
        if self._reader:
            self._reader.cancel()
        self._reader = asyncio.create_task(subscription.serve(self._take))
        if old:
            old.close()

    def _take(self, incoming: Incoming) -> None:
        try:
            self._receive(incoming.event)
        except BunkerError as error:
            log.debug("event %s is no response: %s", incoming.event.id, error)
        except (
            Exception
        ):  # what the app does with an auth_url or with news is not the relay's fault
            log.exception("event %s can't be taken", incoming.event.id)

    def _receive(self, event: VerifiedEvent) -> None:
        message = self._remote.open(event)
        if self.remote is None:
            # rust-nostr up to 0.44 accepts an invitation by a request, and waits for no answer.
            if self._on_stranger:
                self._on_stranger(event.pubkey, message)
            return
        # The subscription asks for its author too: a second lock on the same door.
        if event.pubkey != self.remote or isinstance(message, Request):
            return
        pending = self._calls.get(message.id)
        if pending is None:
            return  # a double, or the answer to a request that was given up
        self._remote.heard(pending.call.request.method, pending.call.sent_at)
        self._settle(pending, message)

    def _settle(self, pending: Pending, response: Response) -> None:
        """Take the signer's answer: a page for the user, an error, or the result."""
        loop = asyncio.get_running_loop()
        if response.is_auth_challenge:
            page = response.auth_url
            if pending.call.ask_user(page or "", loop.time()) and page and self._on_auth_url:
                self._on_auth_url(page)
            self._show(pending)
            pending.wake()
        elif response.error is not None:
            loop.call_later(SECOND_OPINION, pending.settle, response)
        else:
            self._remote.answers_pings |= pending.call.request.method == Method.PING.value
            pending.settle(response)
