"""The way of a published event: checked, stored unless it is ephemeral, forwarded."""

from collections.abc import Callable, Iterable, Set
from typing import TYPE_CHECKING, Final

from bunker_core.bounds.generations import Generations
from bunker_core.bounds.rate import Buckets
from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, verify
from bunker_core.kinds import NOSTR_CONNECT, is_ephemeral
from bunker_core.messages import encode_ok
from bunker_relay.config import Config, Mute
from bunker_relay.event.grace import GraceBuffer
from bunker_relay.event.hub import Hub, Subscription
from bunker_relay.event.limits import Budget, memory_of_event
from bunker_relay.event.policy import FROM_THE_FUTURE, Policy
from bunker_relay.event.strangers import Strangers
from bunker_relay.metrics import Counters
from bunker_relay.nodes.bus import HAD_IT, MAX_WAKING, Alone, Bus
from bunker_relay.store.outcome import Outcome, StoreError, is_damage
from bunker_relay.troubles import Troubles

if TYPE_CHECKING:
    from bunker_relay.event.clock import Clock
    from bunker_relay.store.store import Store

_SEEN: Final = 20_000  # ephemeral events remembered, twice as many at most: 18 MB

_REASONS: Final = {
    Outcome.SAVED: (True, ""),
    Outcome.DUPLICATE: (True, "duplicate: already have this event"),
    Outcome.SUPERSEDED: (False, "duplicate: a newer version of this event is stored"),
    Outcome.DELETED: (False, "blocked: this event was deleted by its author"),
}
_UNSAVED_PER_ADDRESS: Final = 16_777_216  # bytes of events that wait to be stored
_UNSAVED: Final = 67_108_864
_UNSAVED_TOO_MUCH: Final = "rate-limited: too many events wait to be stored, slow down"
NOT_STORED: Final = "the database can't be written, and events are refused"
STORE_ADVICE: Final = (
    "look at the disk's free space, and at the database's owner, mode and server; signing goes on"
)
_HELD: Final = "mute: no one is listening yet, held for a short while"
_WOKEN: Final = "mute: no one is listening yet, held while the signer is woken"
_RATE_LIMITED: Final = "rate-limited: too many events, slow down"

Later = Callable[[bytes], None]  # the frame of an OK


class Ingest:
    """Takes events for all clients of a relay."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        hub: Hub,
        store: "Store | None",
        counters: Counters,
    ) -> None:
        """`store` is None on a relay that stores nothing."""
        self._policy = policy
        self._hub = hub
        self._store = store
        self._unsaved = Budget(_UNSAVED_PER_ADDRESS, _UNSAVED)
        self._counters = counters
        self.bus: Bus = Alone()
        self.clock: Clock | None = None
        self.troubles = Troubles()
        # Has recipients woken who sleep; tells whether one of them is (see `push`).
        self.wakes: Callable[[Iterable[str]], bool] = lambda _: False
        self.awake: Callable[[Iterable[str]], None] | None = None  # told who has come
        # The signature, and the serial of the latest subscription that can have had it, or 0.
        self._seen: Generations[tuple[str, int]] = Generations(_SEEN)
        self._accepts_mute = config.mute is Mute.ACCEPT
        self.grace = GraceBuffer(config.grace)
        self._per_ip = Buckets(config.rates.events_per_ip)
        self._per_pubkey = Buckets(config.rates.events_per_pubkey)
        self._signing_per_ip = Buckets(config.rates.signing_per_ip)
        self._signing_per_pubkey = Buckets(config.rates.signing_per_pubkey)
        self._strangers = Strangers(config)

    def configure(self, config: Config) -> None:
        """Take new settings."""
        self._accepts_mute = config.mute is Mute.ACCEPT
        self.grace.settings = config.grace
        self._per_ip.configure(config.rates.events_per_ip)
        self._per_pubkey.configure(config.rates.events_per_pubkey)
        self._signing_per_ip.configure(config.rates.signing_per_ip)
        self._signing_per_pubkey.configure(config.rates.signing_per_pubkey)
        self._strangers.configure(config)

    def submit(
        self, event: Event, address: str, pubkeys: Set[str], now: float, later: Later
    ) -> bytes | None:
        """Take an event whose shape is right; `now` is Unix seconds.

        `address` is whose rate limits it counts for, `pubkeys` who has authenticated there.

        Returns the frame of the OK; or None, and calls `later` with it once the event is committed.
        """
        known = self._seen.get(event.id)
        refusal = self._refusal(event, address, pubkeys, now, known)
        if refusal:
            self._counters.events_refused += 1
            if refusal is FROM_THE_FUTURE and self.clock is not None:
                self.clock.from_the_future(event, self._policy.trusted, now)
            return encode_ok(event.id, False, refusal)
        if self.clock is not None and self.clock.doubted and not self._policy.visibility.probes:
            self.clock.agrees(event, self._policy.trusted, now)
        if event.kind == NOSTR_CONNECT or is_ephemeral(event.kind):
            return self._forward(event, known, now, later)
        if self._store is None:
            raise AssertionError  # the policy of a relay without a store takes no such kind
        return self._save(self._store, event, address, later)

    def subscribed(self, subscription: Subscription, now: float) -> None:
        """Hand a new subscription what waited for it in the grace buffer."""
        for event in self.grace.hand_out(subscription, now):
            event_json = event.to_json()
            subscription.send(event.id, event_json, subscription.frame(event_json))
            self._seen.put(event.id, (event.sig, self._hub.serial))
            self._counters.events_delivered += 1
        if self.grace.is_on and (self.awake or not self.bus.alone):
            recipients = {pubkey for item in subscription.filters for pubkey in item.tag("p") or ()}
            if recipients and self.awake is not None:
                self.awake(recipients)
            if recipients and not self.bus.alone:
                self.bus.tell({"waking": sorted(recipients)[:MAX_WAKING]})

    def receive(self, event: Event, *, trusted: bool, now: float) -> int:
        """Deliver an event that another node has taken.

        Returns how many got it here, or HAD_IT. Raises InvalidEvent.
        """
        known = self._seen.get(event.id)
        if not trusted:
            if self._policy.event_refusal(event, {event.pubkey}, int(now)):
                raise InvalidEvent("not taken here")
            if known is None or known[0] != event.sig:
                verify(event)
        if event.kind == NOSTR_CONNECT:
            self._strangers.met(event, self._strangers.look(event))
        receivers = self._hub.publish(event, after=known[1] if known else 0)
        had_it = known is not None and known[1] > 0
        if receivers:
            self._counters.events_delivered += receivers
            self.grace.drop(event.id)
        if receivers or had_it:
            self._seen.put(event.id, (event.sig, self._hub.serial))
        return receivers or (HAD_IT if had_it else 0)

    def wake(self, recipients: Iterable[str], now: float) -> None:
        """Send what is held for `recipients` to the node where one of them has subscribed."""
        for event, held_at in self.grace.take(recipients, now):

            def answered(receivers: int, event: Event = event, held_at: float = held_at) -> None:
                if not receivers:
                    self.grace.hold(event, held_at)

            if not self.bus.publish(event, answered):
                self.grace.hold(event, held_at)

    def _refusal(
        self,
        event: Event,
        address: str,
        pubkeys: Set[str],
        now: float,
        known: tuple[str, int] | None,
    ) -> str:
        refusal = self._policy.event_refusal(event, pubkeys, int(now))
        if refusal:
            return refusal
        acquaintance: str | bool | None = True
        by_address, by_pubkey = self._per_ip, self._per_pubkey
        if signing := event.kind == NOSTR_CONNECT:
            by_address, by_pubkey = self._signing_per_ip, self._signing_per_pubkey
            # Whoever was answered keeps its share, whatever strangers send from there.
            strangers = self._strangers
            acquaintance = strangers.look(event)
            if acquaintance is not True and strangers.is_stranger(event, acquaintance):
                by_address = strangers.rates
        if not by_address.take(address, now):
            return _RATE_LIMITED
        if known is None or known[0] != event.sig:
            try:
                verify(event)  # it costs ten times all the rest, hence so late
            except InvalidEvent as error:
                return f"invalid: {error}"
        if signing and acquaintance is True and event.pubkey in self._policy.signers:
            # The owner's own signer answers for all its apps. It took a token, as before the
            # signature is checked anyone may claim to be it; now it gets that back.
            self._signing_per_ip.give_back(address)
            self._strangers.met(event, acquaintance)
            return ""
        # Only now: before the signature is checked, anyone could empty another pubkey's bucket.
        if not by_pubkey.take(event.pubkey, now):
            return _RATE_LIMITED
        if acquaintance is not True:
            self._strangers.met(event, acquaintance)
        return ""

    def _forward(
        self, event: Event, known: tuple[str, int] | None, now: float, later: Later
    ) -> bytes | None:
        """Send an ephemeral event to all that want it and have not had it."""
        receivers = self._hub.publish(event, after=known[1] if known else 0)
        if receivers:
            self.bus.publish(event, None)
            self._counters.events_delivered += receivers
            return self._forwarded(event)
        if not self.bus.alone and self._ask_others(event, known, now, later):
            return None
        return self._heard(event, known, 0, now)

    def _ask_others(
        self, event: Event, known: tuple[str, int] | None, now: float, later: Later
    ) -> bool:
        """Send an event to the other nodes, if one of them may have somebody for it."""
        return self.bus.publish(event, lambda others: later(self._heard(event, known, others, now)))

    def _forwarded(self, event: Event) -> bytes:
        self._seen.put(event.id, (event.sig, self._hub.serial))
        self.grace.drop(event.id)
        self._counters.events_accepted += 1
        return encode_ok(event.id, True, "")

    def _heard(self, event: Event, known: tuple[str, int] | None, others: int, now: float) -> bytes:
        """Answer for an event that nobody here got, and `others` on other nodes."""
        if others and others != HAD_IT:  # so many, or UNKNOWN
            return self._forwarded(event)
        if others or (known and known[1]):
            self._seen.put(event.id, (event.sig, self._hub.serial))
            return encode_ok(event.id, True, "duplicate: already forwarded")
        self._counters.events_muted += 1
        # Not delivered to anyone: whoever subscribes from now on may still get it.
        self._seen.put(event.id, (event.sig, 0))
        if event.kind == NOSTR_CONNECT and self.grace.is_on and self.grace.hold(event, now):
            self._counters.events_held += 1
            woken = self.wakes(event.tag_values("p"))
            return encode_ok(event.id, True, _WOKEN if woken else _HELD)
        return encode_ok(event.id, self._accepts_mute, "mute: no one is listening")

    def is_full_for(self, address: str) -> bool:
        """Tell whether the events of `address` that wait to be stored are enough for now."""
        return self._unsaved.is_full_for(address)

    @property
    def unsaved(self) -> int:
        """Bytes of events that wait to be stored."""
        return self._unsaved.used

    def cant_read(self, error: StoreError) -> None:
        """Take the failure of a query; damage is for the owner, too slow is the client's affair."""
        if is_damage(error):
            advice = "stop the relay; `bunker relay salvage` takes out of it what can be read"
            self.troubles.report("damage", f"the database is damaged: {error}", advice)

    def _save(self, store: "Store", event: Event, address: str, later: Later) -> bytes | None:
        size = memory_of_event(event)
        if not self._unsaved.take(address, size):
            return encode_ok(event.id, False, _UNSAVED_TOO_MUCH)

        def done(outcome: Outcome | StoreError) -> None:
            self._unsaved.give_back(address, size)
            if isinstance(outcome, StoreError):
                self._counters.store_errors += 1
                self.troubles.report("database", f"{NOT_STORED}: {outcome}", STORE_ADVICE)
                later(encode_ok(event.id, False, f"error: {outcome}"))
                return
            if self.troubles:
                self.troubles.over("database")
            accepted, reason = _REASONS[outcome]
            if outcome is Outcome.SAVED:
                self._counters.events_delivered += self._hub.publish(event)
                self.bus.publish(event, None)
            self._counters.events_accepted += accepted
            self._counters.events_refused += not accepted
            later(encode_ok(event.id, accepted, reason))

        try:
            store.save(event, done)
        except StoreError as error:
            self._unsaved.give_back(address, size)
            self._counters.store_errors += 1
            return encode_ok(event.id, False, f"error: {error}")
        return None
