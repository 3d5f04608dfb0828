"""The way of a request, step by step, from an event to the response that answers it.

The order is fixed: fresh, decrypt, parse, client, policy, approval, and only then the key.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from bunker_core.channel import Channel, Scheme, rpc_template
from bunker_core.errors import CryptoError, InvalidEntity, InvalidEvent, InvalidKey, InvalidRPC
from bunker_core.event import Event, EventTemplate, VerifiedEvent, parse_template
from bunker_core.nip19 import parse_pubkey
from bunker_core.nip46 import Method, Request, Response, parse_metadata, parse_request
from bunker_signer.approval import DEADLINE, Answer, Approver, Question
from bunker_signer.limits import TokenBucket
from bunker_signer.nse import NSE, NostrEvent, NSEError, NSEErrorCode
from bunker_signer.policy import Action, Decision, action_of, decide
from bunker_signer.store import Client, Store, StoreError

FRESH: Final = 300  # seconds that a request may be off our clock, either way
# Longer than a request can stay fresh, so that none is handled twice, not even after a restart.
REMEMBER: Final = 2 * FRESH + 60
CHANNELS: Final = 1024  # conversation keys kept
ANSWERS: Final = 1024  # answers kept for a client that asks the same again

# Strangers cost a key agreement and an answer each, so both are rationed: events a second that
# are looked into at all, and error replies.
_STRANGER_EVENTS: Final = (100.0, 200.0)  # per second, burst
_STRANGER_REPLIES: Final = (1.0, 20.0)

# What the NSE says when the key is fine and what it was given is not.
_CLIENT_FAULTS: Final = {
    Method.SIGN_EVENT.value: (NSEErrorCode.SIGN_FAILED,),
    Method.NIP44_ENCRYPT.value: (NSEErrorCode.SIGN_FAILED,),
    Method.NIP04_ENCRYPT.value: (NSEErrorCode.SIGN_FAILED,),
    Method.NIP44_DECRYPT.value: (NSEErrorCode.SIGN_FAILED, NSEErrorCode.DECRYPTION_FAILED),
    Method.NIP04_DECRYPT.value: (NSEErrorCode.SIGN_FAILED, NSEErrorCode.DECRYPTION_FAILED),
}

log = logging.getLogger(__name__)

Outcome = str  # the result of a request, as NIP-46 has it: always a text


class Refused(Exception):
    """The request is answered with this error; the text starts with a stable word."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The two key pairs of NIP-46: one carries the traffic, the other signs for the user."""

    transport: NSE
    user: NSE


@dataclass(frozen=True, slots=True)
class Reply:
    """A response on its way to a client; `seal` makes a fresh event of it for each attempt."""

    client_pubkey: str
    response: Response
    scheme: Scheme
    relays: tuple[str, ...]  # where the client listens, beside our own
    not_before: int  # created_at of the request: clients filter by `since` of their own clock
    after: Callable[[], None] | None = None  # once the client has it


class Handler:
    """Answers requests. One for all clients; every method runs on the event loop."""

    def __init__(
        self,
        keys: Keys,
        store: Store,
        approver: Approver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._store = store
        self._approver = approver
        self._clock = clock
        self._channels: OrderedDict[str, Channel] = OrderedDict()
        self._answers: OrderedDict[bytes, asyncio.Task[Response]] = OrderedDict()
        self._stranger_events = TokenBucket(*_STRANGER_EVENTS)
        self._stranger_replies = TokenBucket(*_STRANGER_REPLIES)
        self.dropped = 0  # events that got no answer: stale, replayed or unreadable

    async def handle(self, event: VerifiedEvent, relay_url: str) -> Reply | None:
        """Return the reply to a request event that came by `relay_url`; None drops it."""
        now = int(self._clock())
        # 1 fresh, and not handled before
        if abs(event.created_at - now) > FRESH or self._store.was_handled(event.id):
            return self._drop(event, "stale or handled before")
        client = self._store.client(event.pubkey)
        if client is None and not self._stranger_events.take(self._clock()):
            return self._drop(event, "too many strangers")
        # 2 decrypt; a stranger learns nothing from a failure
        try:
            text, scheme = self._channel(event.pubkey).open(event.content)
        except (CryptoError, InvalidKey):
            return self._drop(event, "not decryptable")
        # 3 parse
        relays = (relay_url, *(client.relays if client else ()))
        try:
            request = parse_request(text)
        except InvalidRPC as error:
            if error.request_id is None or client is None:
                return self._drop(event, "no request")
            response = Response(error.request_id, error=f"invalid: {error}")
            return Reply(event.pubkey, response, scheme, relays, event.created_at)
        # 4 client
        if client is None and request.method != Method.CONNECT.value:
            return self._refuse_stranger(event, request, scheme, relays)
        if client is not None:
            if request.method == Method.LOGOUT.value and event.created_at < client.paired_at:
                return self._drop(event, "logout of an earlier session")
            self._store.mark_handled(event.id, now, REMEMBER)
        response = await self._answer_once(event, request, client)
        if client is None and response.error and not self._stranger_replies.take(self._clock()):
            return self._drop(event, "too many strangers")
        logout = request.method == Method.LOGOUT.value and response.error is None
        after = (lambda: self._log_out(event.pubkey)) if logout else None
        return Reply(event.pubkey, response, scheme, relays, event.created_at, after)

    def seal(self, reply: Reply) -> Event:
        """Return a fresh event with the reply.

        Its created_at is never before the request's: a client that subscribed `since` its own now
        would otherwise not get it from a signer whose clock is behind.
        """
        content = self._channel(reply.client_pubkey).seal(reply.response.to_json(), reply.scheme)
        created_at = max(int(self._clock()), reply.not_before)
        return self._keys.transport.sign(rpc_template(content, reply.client_pubkey, created_at))

    # --- step 4: strangers ---------------------------------------------------------------------

    def _refuse_stranger(
        self, event: Event, request: Request, scheme: Scheme, relays: tuple[str, ...]
    ) -> Reply | None:
        if not self._stranger_replies.take(self._clock()):
            return self._drop(event, "too many strangers")
        response = Response(request.id, error="denied: not connected, send connect first")
        return Reply(event.pubkey, response, scheme, relays, event.created_at)

    def _connect(self, request: Request, event: Event, client: Client | None) -> Outcome:
        """Admit a client by a secret. NIP-46: params are remote signer, secret, perms, metadata.

        The first is not looked at: libraries send the user's key, ours, or nothing. A client that
        is known already is admitted by its key, whatever secret it repeats. The permissions that
        it asks for are a proposal; the grants come from the owner.
        """
        if client is not None:
            return "ack"
        metadata = parse_metadata(request.param(3))
        secret = request.param(1)
        if not secret or not self._store.pair(event.pubkey, secret, metadata, int(self._clock())):
            raise Refused("denied: the secret is wrong, used or too old; ask for a new bunker URI")
        log.info("client %s is paired", event.pubkey)
        return "ack"

    def _log_out(self, pubkey: str) -> None:
        self._store.remove_client(pubkey)
        self._channels.pop(pubkey, None)
        log.info("client %s is logged out", pubkey)

    # --- answering -----------------------------------------------------------------------------

    async def _answer_once(self, event: Event, request: Request, client: Client | None) -> Response:
        """Answer, or repeat the answer when the same client asks the same with the same id.

        The id alone would not do: libraries draw ids so short that they collide.
        """
        digest = sha256(b"\0".join((event.pubkey.encode(), request.to_json().encode()))).digest()
        task = self._answers.get(digest)
        if task is None or _failed(task):
            task = asyncio.create_task(self._answer(event, request, client))
            self._answers[digest] = task
            while len(self._answers) > ANSWERS:
                self._answers.popitem(last=False)
        return await asyncio.shield(task)

    async def _answer(self, event: Event, request: Request, client: Client | None) -> Response:
        try:
            result = await self._result(event, request, client)
        except Refused as refusal:
            error = str(refusal)
        except (InvalidEvent, InvalidEntity, InvalidKey) as invalid:
            error = f"invalid: {invalid}"
        except CryptoError:
            error = "invalid: the message can't be encrypted or decrypted with this key"
        except NSEError as failure:
            if failure.code in _CLIENT_FAULTS.get(request.method, ()):
                return Response(request.id, error=f"invalid: {failure}")
            log.error("the key can't be used: %s", failure)
            error = "error: the signer can't use its key"
        except StoreError as failure:
            log.error("%s", failure)
            error = "error: the signer can't use its database"
        except Exception as failure:  # noqa: BLE001 -- a client is answered whatever happens
            # The type alone: the text could repeat what was to be signed.
            log.error("event %s: %s", event.id, type(failure).__name__)
            error = "error: the signer failed"
        else:
            log.info("%s for client %s: done", _loggable(request.method), event.pubkey)
            return Response(request.id, result)
        log.info("%s for client %s: %s", _loggable(request.method), event.pubkey, error)
        return Response(request.id, error=error)

    async def _result(self, event: Event, request: Request, client: Client | None) -> Outcome:
        try:
            method = Method(request.method)
        except ValueError:
            raise Refused("unsupported: unknown method") from None
        match method:
            case Method.CONNECT:
                return self._connect(request, event, client)
            case Method.PING:
                return "pong"
            case Method.GET_PUBLIC_KEY:
                return self._keys.user.get_public_key()
            case Method.SWITCH_RELAYS:
                # The text, not JSON's null: nostr-tools hangs on the latter. We serve a client
                # on the relays where it found us, so there is nothing to change.
                return "null"
            case Method.LOGOUT:
                return "ack"
            case Method.SIGN_EVENT:
                template = self._template(request)
                await self._permit(event, client, action_of(method, template), template=template)
                return self._sign(template)
            case _:
                peer = parse_pubkey(request.param(0))
                await self._permit(event, client, action_of(method, None), peer=peer)
                return self._crypt(method, peer, request.param(1))

    def _template(self, request: Request) -> EventTemplate:
        """Read params[0]: JSON text in every library, an object from hand-made clients."""
        value: Any = request.params[0] if request.params else None
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                raise Refused("invalid: the event is not JSON") from None
        template = parse_template(value, now=int(self._clock()))
        author = value.get("pubkey")
        if author and author != self._keys.user.get_public_key():
            raise Refused("invalid: the event is of another author than this signer's user")
        return template

    # --- steps 5 and 6: policy, approval -------------------------------------------------------

    async def _permit(
        self,
        event: Event,
        client: Client | None,
        action: Action,
        *,
        template: EventTemplate | None = None,
        peer: str | None = None,
    ) -> None:
        """Return if the action is granted or approved; raises Refused."""
        if client is None:
            raise Refused("denied: not connected, send connect first")
        if decide(self._store.grants(event.pubkey), action) is Decision.ALLOW:
            return
        question = Question(client.metadata.name, event.pubkey, action.method, template, peer)
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await self._approver.ask(question)
        except TimeoutError:
            raise Refused(f"denied: nobody answered within {DEADLINE:.0f} s") from None
        if answer is Answer.DENY:
            raise Refused(f"denied: {action.permission} is not allowed")
        if self._store.client(event.pubkey) is None:
            raise Refused("denied: logged out while waiting for the answer")
        if answer is Answer.ALWAYS:
            self._store.add_grant(event.pubkey, action.permission, int(self._clock()))

    # --- step 7: the key -----------------------------------------------------------------------

    def _sign(self, template: EventTemplate) -> Outcome:
        tags = [list(tag) for tag in template.tags]
        signed = self._keys.user.sign(
            NostrEvent(template.kind, template.content, tags, template.created_at)
        )
        return signed.to_json().decode()

    def _crypt(self, method: Method, peer: str, text: str) -> Outcome:
        user = self._keys.user
        match method:
            case Method.NIP44_ENCRYPT:
                return user.nip44_encrypt(peer, text)
            case Method.NIP44_DECRYPT:
                return user.nip44_decrypt(peer, text)
            case Method.NIP04_ENCRYPT:
                return user.nip04_encrypt(peer, text)
            case Method.NIP04_DECRYPT:
                # An empty result hangs nostr-tools and applesauce, but it is the true one.
                return user.nip04_decrypt(peer, text)
            case _:
                raise AssertionError(method)

    # --- helpers -------------------------------------------------------------------------------

    def _channel(self, pubkey: str) -> Channel:
        channel = self._channels.get(pubkey)
        if channel is None:
            transport = self._keys.transport
            channel = Channel(pubkey, transport.conversation_key(pubkey), transport.shared_x)
            self._channels[pubkey] = channel
            if len(self._channels) > CHANNELS:
                self._channels.popitem(last=False)
        else:
            self._channels.move_to_end(pubkey)
        return channel

    def _drop(self, event: Event, reason: str) -> Reply | None:
        """Leave an event without an answer."""
        self.dropped += 1
        log.debug("event %s of %s is dropped: %s", event.id, event.pubkey, reason)
        return None


def _loggable(method: str) -> str:
    """Return a method name that is safe in a log: it is free text of a stranger."""
    return method if method in Method._value2member_map_ else "unknown method"


def _failed(task: asyncio.Task[Response]) -> bool:
    """Tell whether an answer was our own failure, which is worth another try; a denial is not."""
    return task.done() and (task.result().error or "").startswith("error:")
