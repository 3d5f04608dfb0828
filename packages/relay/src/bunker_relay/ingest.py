"""What happens to a published event: checked, stored unless it is ephemeral, forwarded."""

from collections.abc import Callable
from typing import Final

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, verify
from bunker_core.kinds import CLIENT_AUTH, is_ephemeral
from bunker_core.messages import Ok
from bunker_relay import nip40
from bunker_relay.config import Limits
from bunker_relay.hub import Hub
from bunker_relay.store import Store, StoreError
from bunker_relay.write import Outcome

_SEEN: Final = 50_000  # ephemeral events remembered, twice at most; about 15 MB

_REASONS: Final = {
    Outcome.SAVED: (True, ""),
    Outcome.DUPLICATE: (True, "duplicate: already have this event"),
    Outcome.SUPERSEDED: (False, "duplicate: a newer version of this event is stored"),
    Outcome.DELETED: (False, "blocked: this event was deleted by its author"),
}


class Ingest:
    """The way of an event into the relay."""

    def __init__(self, hub: Hub, store: Store | None, limits: Limits) -> None:
        self._hub = hub
        self._store = store
        self._limits = limits
        self._seen = Seen(_SEEN)

    def submit(self, event: Event, now: int, reply: Callable[[Ok], None]) -> bool:
        """Take an event whose shape is right; call `reply` once, now or after the commit.

        Returns whether the answer is still to come.
        """
        refusal = self._refusal(event, now)
        if refusal:
            reply(Ok(event.id, False, refusal))
            return False
        known = self._seen.get(event.id)
        if known is None or known[0] != event.sig:
            try:
                verify(event)  # last: it costs ten times all the rest
            except InvalidEvent as error:
                reply(Ok(event.id, False, f"invalid: {error}"))
                return False
        if is_ephemeral(event.kind):
            reply(self._forward(event, known))
            return False
        if self._store is None:
            reply(Ok(event.id, False, "blocked: this relay stores nothing"))
            return False

        def done(outcome: Outcome | StoreError) -> None:
            if isinstance(outcome, StoreError):
                reply(Ok(event.id, False, f"error: {outcome}"))
                return
            if outcome is Outcome.SAVED:
                self._hub.publish(event)
            reply(Ok(event.id, *_REASONS[outcome]))

        self._store.save(event, done)
        return True

    def _forward(self, event: Event, known: tuple[str, int] | None) -> Ok:
        """Send an ephemeral event to all that want it and have not had it."""
        serial = self._hub.serial
        receivers = self._hub.publish(event, after=known[1] if known else 0)
        self._seen.put(event.id, (event.sig, serial))
        if receivers:
            return Ok(event.id, True, "")
        if known:
            return Ok(event.id, True, "duplicate: already forwarded")
        return Ok(event.id, True, "mute: no one is listening")

    def _refusal(self, event: Event, now: int) -> str:
        limits = self._limits
        if event.kind == CLIENT_AUTH:
            return "invalid: kind 22242 is for AUTH"  # NIP-42: never broadcast
        if len(event.tags) > limits.max_event_tags:
            return f"invalid: more than {limits.max_event_tags} tags"
        if len(event.content) > limits.max_content_length:
            return f"invalid: content is longer than {limits.max_content_length} characters"
        if event.created_at > now + limits.created_at_upper_limit:
            return "invalid: created_at is too far in the future"
        if limits.created_at_lower_limit and event.created_at < now - limits.created_at_lower_limit:
            return "invalid: created_at is too far in the past"
        expires_at = nip40.expiration(event)
        if expires_at is not None and expires_at <= now:
            return "invalid: event has expired"
        return ""


class Seen:
    """What is remembered of the latest ephemeral events: signature, and who had them.

    Two generations: when the young one is full it becomes the old one and the old one goes. No
    entry is evicted alone, which would scan over deleted slots.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[str, tuple[str, int]] = {}
        self._old: dict[str, tuple[str, int]] = {}

    def get(self, event_id: str) -> tuple[str, int] | None:
        """Return (sig, the latest subscription's serial when it was forwarded) if remembered."""
        return self._young.get(event_id) or self._old.get(event_id)

    def put(self, event_id: str, value: tuple[str, int]) -> None:
        """Remember an event."""
        self._young[event_id] = value
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
