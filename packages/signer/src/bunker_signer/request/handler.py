"""The way of a request, step by step, from an event to the response that answers it.

The order is fixed: fresh, decrypt, parse, client, policy, approval, and only then the key.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection

from bunker_core.bounds.rate import Buckets, FixedRate, TokenBucket
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
from bunker_signer.request.course import Remaining, Rest, Then, awaited
from bunker_signer.request.decision import Job
from bunker_signer.request.jobs import Jobs
from bunker_signer.request.keyless import KeylessMethods
from bunker_signer.request.operation import Refused
from bunker_signer.request.reply import Reply
from bunker_signer.store import StoreError, Writer, clients, journal
from bunker_signer.store.clients import Client

FRESH: Final = 300  # seconds that a request may be off the corrected clock, either way
# Seconds by which the relays' clocks may correct ours: a machine that is minutes off serves. Beyond
# it the owner is told, and nobody served: a relay could replay what is forgotten already.
MAX_CORRECTION: Final = 3600
# Longer than a request can be or become fresh, so that none is handled twice, not even after a
# restart or with the clock corrected.
REMEMBER: Final = MAX_CORRECTION + 2 * FRESH + 60
# A known client whose clock is further off than FRESH is told by how much, so often. What is older
# than a day is no client's clock but somebody's replay.
_CLOCK_OFF: Final = 86400  # seconds
_TOLD: Final = FixedRate(1 / 60, 1)

# Strangers cost a key agreement and an answer each, so both are rationed: events a second that
# are looked into at all, and error replies. Nothing of theirs is written down.
_STRANGER_EVENTS: Final = (100.0, 200.0)  # per second, burst
# More of them while a secret waits to pair somebody: the one who has it is a stranger, too. All of
# them cost 6 % of a core.
_PAIRING_EVENTS: Final = (400.0, 800.0)
_PAIRING_KNOWN: Final = 2.0  # seconds after which it is looked up again whether one waits
_STRANGER_REPLIES: Final = (1.0, 20.0)
# A client that is paired may have a busy day, but not fill the disk: an app that loads hundreds
# of encrypted messages at once is the busiest seen.
CLIENT_RATE: Final = 100.0  # a second
_CLIENT_BURST: Final = 20.0  # seconds' worth of them at once
_CLIENTS_COUNTED: Final = 4096

# What needs no key, by the names that clients have for it: Snort logs out by `disconnect`.
_FREE: Final = {item.value: item for item in FREE} | {"disconnect": Method.LOGOUT}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Came:
    """A request as it was read: whose, to which key, and how it is answered."""

    identity: Identity
    event: VerifiedEvent
    client: Client | None  # None for a stranger
    request: Request
    scheme: Scheme
    relays: tuple[str, ...]
    now: int  # by the corrected clock
    off: int  # seconds that its clock is ahead of that, if that is too much


class Handler:
    """Answers requests to all keys; every method runs on the event loop."""

    def __init__(
        self,
        identities: Mapping[str, Identity],
        writer: Writer,
        keyless: KeylessMethods,
        jobs: Jobs,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        corrected: Callable[[], float] | None = None,
        client_rate: float = CLIENT_RATE,
    ) -> None:
        """`identities` are named by their remote-signer pubkeys.

        `corrected` is the clock that is compared with the clients'; `client_rate` is how many
        requests a second one client may send.
        """
        self._identities = identities
        self._writer = writer
        self._keyless = keyless
        self._jobs = jobs
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._corrected = corrected or clock
        self._client_rate = client_rate
        self._told = Buckets(_TOLD, _CLIENTS_COUNTED)
        self._pairing_events = TokenBucket(*_PAIRING_EVENTS)
        self._pairing_until: tuple[float, bool] = (0.0, False)
        self._stranger_events = TokenBucket(*_STRANGER_EVENTS)
        self._stranger_replies = TokenBucket(*_STRANGER_REPLIES)
        self._client_requests: Recent[TokenBucket] = Recent(_CLIENTS_COUNTED)

    async def handle(self, event: VerifiedEvent, relay_url: str) -> Reply | None:
        """Return the reply to a request event that came by `relay_url`; None drops it.

        None is also the answer to a repetition of what is being worked on: that one is answered.
        Raises StoreError while the database is out of reach.
        """
        return await awaited(partial(self.start, event, relay_url))

    def start(self, event: VerifiedEvent, relay_url: str, then: Then, otherwise: Rest) -> None:
        """As `handle`, by callbacks (`course.py`), of which one is called once. Raises StoreError.

        A request that a grant allows needs no task until its answer is written down.
        """
        came = self._read(event, relay_url)
        if came is None or isinstance(came, Reply):
            then(came)
        elif came.client is None:
            then(self._stranger(came))
        elif came.off:
            otherwise(partial(self._clock_is_off, came))
        else:
            self._client(came, came.client, then, otherwise)

    def turn_away(self, event: VerifiedEvent, relay_url: str) -> Reply | None:
        """Return the reply to a request while too many others are worked on; None drops it.

        It is not written down, so that a repetition is looked at afresh. Raises StoreError.
        """
        came = self._read(event, relay_url, strangers=False)
        if came is None or isinstance(came, Reply) or came.off:
            return None
        if not self._has_room(came.identity, event.pubkey):
            return self._drop(event, "flood")
        return self._reply(came, error="rate-limited: the signer is busy, ask again later")

    def _read(
        self, event: VerifiedEvent, relay_url: str, *, strangers: bool = True
    ) -> "_Came | Reply | None":
        """Return what came; the reply to what can't be read; None for what is dropped."""
        now = int(self._corrected())
        identity = next(filter(None, map(self._identities.get, event.tag_values("p"))), None)
        if identity is None:
            return self._drop(event, "not for us")
        # 1 fresh. What was handled before is found when it is written down; nothing happens until
        # then.
        off = event.created_at - now if abs(event.created_at - now) > FRESH else 0
        name = identity.name
        client = self._writer.read(lambda at: clients.find(at, name, event.pubkey))
        if off and (client is None or not self._may_tell(identity, event.pubkey, off)):
            return self._drop(event, "stale")
        if client is None and not (strangers and self._looks_at_strangers()):
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
            if not error.answerable or client is None or off:
                return self._drop(event, "unreadable")
            if not self._has_room(identity, event.pubkey):
                return self._drop(event, "flood")
            response = Response(error.request_id, error=f"invalid: {error}")
            return Reply(identity, event.pubkey, response, scheme, relays, event.created_at)
        return _Came(identity, event, client, request, scheme, relays, now, off)

    async def _clock_is_off(self, came: "_Came") -> Reply | None:
        """Tell a client, and the owner, that its clock is off and by how much."""
        event_id = came.event.id
        if not await self._writer.write(lambda to: journal.mark_handled(to, event_id, came.now)):
            return self._drop(came.event, "replayed")
        how = f"{abs(came.off)} s {'ahead of' if came.off > 0 else 'behind'}"
        log.warning("a client's clock is off", client=came.event.pubkey, seconds=came.off)
        return self._reply(
            came, error=f"invalid: your clock is {how} the relay's, set it and retry"
        )

    def _client(self, came: "_Came", client: Client, then: Then, otherwise: Rest) -> None:
        """Answer a known client."""
        identity, event, request, now = came.identity, came.event, came.request, came.now
        if not self._has_room(identity, event.pubkey):
            then(self._reply(came, error="rate-limited: too many requests"))
            return
        method = _FREE.get(request.method)
        if method is not None:
            otherwise(partial(self._keyless_method, came, client, method))
            return
        # 5 policy, 6 approval, 7 the key
        received_at = int(self._clock())
        job = Job(identity, client, event, request, came.scheme, set(came.relays), received_at, now)
        self._jobs.start(
            job,
            lambda reply: then(_told(event, reply)),
            lambda rest: otherwise(partial(_told_at_the_end, event, rest)),
        )

    async def _keyless_method(self, came: "_Came", client: Client, method: Method) -> Reply | None:
        """Answer what needs no key, once it is written down."""
        identity, event, request, now = came.identity, came.event, came.request, came.now
        if method is Method.LOGOUT and event.created_at < client.paired_at:
            return self._drop(event, "logout of an earlier session")

        def see(connection: Connection) -> bool:
            new = journal.mark_handled(connection, event.id, now)
            if new:
                self._keyless.note(connection, identity, method, client, request, now)
            return new

        if not await self._writer.write(see):
            return self._drop(event, "replayed")
        answer = self._reply(came, self._keyless.result(identity, method, client, request))
        if method is Method.LOGOUT:
            log.info("client logged out", key=identity.name, client=client.pubkey)
            answer = answer.seal()
            identity.forget_channel(client.pubkey)
        return answer

    # --- step 4: strangers -------------------------------------------------------------------

    def _stranger(self, came: "_Came") -> Reply | None:
        """Admit a client with a good secret; tell others, within limits, that they are none."""
        result, error = "", "denied: not connected, send connect first"
        if came.request.method == Method.CONNECT.value:
            try:
                pubkey, now = came.event.pubkey, int(self._clock())
                result = self._keyless.connect(came.identity, came.request, pubkey, now)
            except Refused as refusal:
                error = refusal.error
            except StoreError as failure:
                log.error("database failed", error=str(failure))
                error = "error: the signer can't use its database"
        if result:
            return self._reply(came, result)
        if not self._stranger_replies.take(self._clock()):
            return self._drop(came.event, "strangers")
        return self._reply(came, error=error)

    def _looks_at_strangers(self) -> bool:
        """Tell whether there is room for one more event of somebody unknown."""
        now = self._clock()
        if self._stranger_events.take(now):
            return True
        until, waits = self._pairing_until
        if not until - _PAIRING_KNOWN <= now < until:
            waits = self._writer.read(lambda at: clients.awaits_pairing(at, int(now)))
            self._pairing_until = (now + _PAIRING_KNOWN, waits)
        return waits and self._pairing_events.take(now)

    def _may_tell(self, identity: Identity, pubkey: str, off: int) -> bool:
        """Tell whether a client is told now that its clock is off."""
        return abs(off) <= _CLOCK_OFF and self._told.take(
            f"{identity.name}:{pubkey}", self._clock()
        )

    # --- helpers -----------------------------------------------------------------------------

    def _reply(self, came: "_Came", result: str | None = None, error: str | None = None) -> Reply:
        self._metrics.count(came.request.method, error)
        response = Response(came.request.id, result, error)
        event = came.event
        return Reply(
            came.identity, event.pubkey, response, came.scheme, came.relays, event.created_at
        )

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


def _told(event: Event, reply: Reply | None) -> Reply | None:
    """Return `reply`; the owner's log has why a request was refused."""
    if reply is not None and reply.response.error is not None:
        log.info("request refused", event_id=event.id, error=reply.response.error)
    return reply


async def _told_at_the_end(event: Event, rest: Remaining) -> Reply | None:
    return _told(event, await rest())
