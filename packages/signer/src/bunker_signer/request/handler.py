"""The way of a request, step by step, from an event to the response that answers it.

The order is fixed: fresh, decrypt, parse, client, policy, approval, and only then the key.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection

from bunker_core.bounds.rate import TokenBucket
from bunker_core.bounds.recent import Recent
from bunker_core.errors import CryptoError, InvalidKey, InvalidRPC
from bunker_core.event import Event, VerifiedEvent
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip46 import Method, Request, Response, parse_request
from bunker_signer.key.identity import Identity
from bunker_signer.nse import NSEError
from bunker_signer.policy import FREE
from bunker_signer.process.logs import get_logger
from bunker_signer.process.metrics import Metrics
from bunker_signer.request.job import Job
from bunker_signer.request.jobs import Jobs
from bunker_signer.request.operation import Refused
from bunker_signer.request.reply import Reply
from bunker_signer.request.sessions import Sessions
from bunker_signer.store import StoreError, Writer, clients, journal
from bunker_signer.store.clients import Client

FRESH: Final = 300  # seconds that a request may be off our clock, either way
# Longer than a request can stay fresh, so that none is handled twice, not even after a restart.
REMEMBER: Final = 2 * FRESH + 60

# Strangers cost a key agreement and an answer each, so both are rationed: events a second that
# are looked into at all, and error replies. Nothing of theirs is written down.
_STRANGER_EVENTS: Final = (100.0, 200.0)  # per second, burst
_STRANGER_REPLIES: Final = (1.0, 20.0)
# A client that is paired may have a busy day, but not fill the disk: an app that loads hundreds
# of encrypted messages at once is the busiest seen.
CLIENT_RATE: Final = 100.0  # a second
_CLIENT_BURST: Final = 20.0  # seconds' worth of them at once
_CLIENTS_COUNTED: Final = 4096

log = get_logger(__name__)


class Handler:
    """Answers requests to all keys; every method runs on the event loop."""

    def __init__(
        self,
        identities: Mapping[str, Identity],
        writer: Writer,
        sessions: Sessions,
        jobs: Jobs,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        client_rate: float = CLIENT_RATE,
    ) -> None:
        """`identities` are named by their remote-signer pubkeys.

        `client_rate` is how many requests a second one client may send.
        """
        self._identities = identities
        self._writer = writer
        self._sessions = sessions
        self._jobs = jobs
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._client_rate = client_rate
        self._stranger_events = TokenBucket(*_STRANGER_EVENTS)
        self._stranger_replies = TokenBucket(*_STRANGER_REPLIES)
        self._client_requests: Recent[TokenBucket] = Recent(_CLIENTS_COUNTED)

    async def handle(self, event: VerifiedEvent, relay_url: str) -> Reply | None:
        """Return the reply to a request event that came by `relay_url`; None drops it.

        None is also the answer to a repetition of what is being worked on: that one is answered.
        Raises StoreError while the database is out of reach.
        """
        now = int(self._clock())
        identity = next(filter(None, map(self._identities.get, event.tag_values("p"))), None)
        if identity is None:
            return self._drop(event, "not for us")
        # 1 fresh, and not handled before
        if abs(event.created_at - now) > FRESH:
            return self._drop(event, "stale")
        # What was handled before is found when it is written down; nothing happens until then.
        name = identity.name
        client = self._writer.read(lambda at: clients.find(at, name, event.pubkey))
        if client is None and not self._stranger_events.take(self._clock()):
            return self._drop(event, "strangers")
        # 2 decrypt; a stranger learns nothing from a failure
        try:
            text, scheme = identity.channel(event.pubkey).open(event.content)
        except (CryptoError, InvalidKey, NSEError):
            return self._drop(event, "undecryptable")
        # 3 parse
        relays = (relay_url, *(client.relays if client else ()))
        try:
            request = parse_request(text)
        except InvalidRPC as error:
            if error.request_id is None or client is None:
                return self._drop(event, "unreadable")
            response = Response(error.request_id, error=f"invalid: {error}")
            return Reply(identity, event.pubkey, response, scheme, relays, event.created_at)
        # 4 client
        if client is None:
            return self._stranger(identity, event, request, scheme, relays, now)
        return await self._client(identity, event, request, scheme, relays, client, now)

    def turn_away(self, event: VerifiedEvent, relay_url: str) -> Reply | None:
        """Return the reply to a request while too many others are worked on; None drops it.

        It is not written down, so that a repetition is looked at afresh. Raises StoreError.
        """
        now = int(self._clock())
        identity = next(filter(None, map(self._identities.get, event.tag_values("p"))), None)
        if identity is None or abs(event.created_at - now) > FRESH:
            return self._drop(event, "stale")
        name = identity.name
        client = self._writer.read(lambda at: clients.find(at, name, event.pubkey))
        if client is None:
            return self._drop(event, "strangers")
        if not self._has_room(identity, event.pubkey):
            return self._drop(event, "flood")
        try:
            text, scheme = identity.channel(event.pubkey).open(event.content)
            request = parse_request(text)
        except (CryptoError, InvalidKey, NSEError, InvalidRPC):
            return self._drop(event, "undecryptable")
        response = Response(request.id, error="rate-limited: the signer is busy, ask again later")
        self._metrics.count(request.method, response.error)
        relays = (relay_url, *client.relays)
        return Reply(identity, event.pubkey, response, scheme, relays, event.created_at)

    async def _client(
        self,
        identity: Identity,
        event: VerifiedEvent,
        request: Request,
        scheme: Scheme,
        relays: tuple[str, ...],
        client: Client,
        now: int,
    ) -> Reply | None:
        """Answer a known client."""

        def reply(response: Response) -> Reply:
            self._metrics.count(request.method, response.error)
            return Reply(identity, event.pubkey, response, scheme, relays, event.created_at)

        if not self._has_room(identity, event.pubkey):
            return reply(Response(request.id, error="rate-limited: too many requests"))
        method = next((item for item in FREE if item.value == request.method), None)
        if method is None:
            # 5 policy, 6 approval, 7 the key
            job = Job(identity, client, event, request, scheme, set(relays), now)
            answered = await self._jobs.run(job)
            if answered is not None and answered.response.error is not None:
                log.info("request refused", event_id=event.id, error=answered.response.error)
            return answered
        if method is Method.LOGOUT and event.created_at < client.paired_at:
            return self._drop(event, "logout of an earlier session")

        def see(connection: Connection) -> bool:
            new = journal.mark_handled(connection, event.id, now)
            if new:
                self._sessions.note(connection, identity, method, client, now)
            return new

        if not await self._writer.write(see):
            return self._drop(event, "replayed")
        if method is Method.CONNECT:
            result = self._sessions.connect(identity, request, event, client, now)
        else:
            result = self._sessions.result(identity, method, client, request)
        answer = reply(Response(request.id, result))
        if method is Method.LOGOUT:
            log.info("client logged out", key=identity.name, client=client.pubkey)
            answer = answer.seal()
            identity.forget_channel(client.pubkey)
        return answer

    # --- step 4: strangers -------------------------------------------------------------------

    def _stranger(
        self,
        identity: Identity,
        event: Event,
        request: Request,
        scheme: Scheme,
        relays: tuple[str, ...],
        now: int,
    ) -> Reply | None:
        """Admit a client with a good secret; tell anybody else, within limits, that he is none."""
        if request.method == Method.CONNECT.value:
            try:
                result = self._sessions.connect(identity, request, event, None, now)
            except Refused as refusal:
                response = Response(request.id, error=refusal.error)
            except StoreError as error:
                log.error("database failed", error=str(error))
                response = Response(request.id, error="error: the signer can't use its database")
            else:
                response = Response(request.id, result)
        else:
            response = Response(request.id, error="denied: not connected, send connect first")
        if response.error is not None and not self._stranger_replies.take(self._clock()):
            return self._drop(event, "strangers")
        self._metrics.count(request.method, response.error)
        return Reply(identity, event.pubkey, response, scheme, relays, event.created_at)

    # --- helpers -----------------------------------------------------------------------------

    def _has_room(self, identity: Identity, pubkey: str) -> bool:
        name = f"{identity.name}:{pubkey}"
        bucket = self._client_requests.get(name)
        if bucket is None:
            bucket = TokenBucket(self._client_rate, self._client_rate * _CLIENT_BURST)
            self._client_requests.put(name, bucket)
        return bucket.take(self._clock())

    def _drop(self, event: Event, reason: str) -> Reply | None:
        """Leave an event without an answer."""
        self._metrics.drop(reason)
        log.debug("event dropped", event_id=event.id, client=event.pubkey, reason=reason)
        return None
