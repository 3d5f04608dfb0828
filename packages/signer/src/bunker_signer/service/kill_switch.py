"""Panic from afar: a private message (NIP-17) with the word `panic` from a pubkey set in advance.

For the moment when the owner has lost the machine's neighbourhood and an app is not trusted any
more. Off unless a pubkey is named. It can lock and revoke, never unlock, and whoever holds that key
can do no more with it here. The message is dated: it counts within minutes, and once.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from bunker_core.bounds.rate import TokenBucket
from bunker_core.errors import BunkerError, CryptoError, InvalidEvent, InvalidKey
from bunker_core.filter import Filter
from bunker_core.kinds import GIFT_WRAP
from bunker_core.nips.nip59 import MESSAGE, unwrap
from bunker_core.pool import Incoming, RelayPool, Subscription
from bunker_signer.key.identity import Identity
from bunker_signer.nse import NSEError
from bunker_signer.process.logs import get_logger
from bunker_signer.store import Database, settings

WORD: Final = "panic"
FRESH: Final = 600  # seconds that a message may be off our clock
LOOK_BACK: Final = 3 * 86400  # seconds: NIP-59 dates a wrap up to two days before its time
_WRAPS: Final = (1.0, 20.0)  # a second, at once: each costs two key agreements

log = get_logger(__name__)


class KillSwitch:
    """Reads what is sent to the remote-signer keys, and calls `on_panic` with who said it."""

    def __init__(
        self,
        identities: Mapping[str, Identity],
        database: Database,
        trusted: frozenset[str],
        on_panic: Callable[[str], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`identities` are named by their remote-signer pubkeys; `trusted` are hex pubkeys."""
        self._identities = identities
        self._database = database
        self._trusted = trusted
        self._on_panic = on_panic
        self._clock = clock
        self._wraps = TokenBucket(*_WRAPS)

    def subscribe(self, pool: RelayPool) -> Subscription:
        """Return the subscription to hand to `take`."""
        wanted = Filter(
            kinds=frozenset({GIFT_WRAP}),
            tags=(("p", frozenset(self._identities)),),
            since=int(self._clock()) - LOOK_BACK,
        )
        return pool.subscribe(wanted)

    def take(self, incoming: Incoming) -> None:
        """Look into a wrap; everything but the one word from a trusted pubkey is ignored."""
        event = incoming.event
        found = filter(None, map(self._identities.get, event.tag_values("p")))
        identity = next(found, None)
        if identity is None or not self._wraps.take(self._clock()):
            return
        try:
            rumor = unwrap(event, identity.transport.nip44_decrypt)
        except (InvalidEvent, CryptoError, InvalidKey, NSEError):
            return
        said = rumor.kind == MESSAGE and rumor.content.strip().lower() == WORD
        if not said or rumor.pubkey not in self._trusted:
            return
        try:
            if abs(rumor.created_at - self._clock()) > FRESH or not self._is_new(
                rumor.pubkey, rumor.created_at
            ):
                log.warning("an old panic message was ignored", pubkey=rumor.pubkey)
                return
            log.error("panic by a private message", pubkey=rumor.pubkey)
            self._on_panic(f"message of {rumor.pubkey}")
        except BunkerError as error:
            log.error("panic failed", error=str(error))

    def _is_new(self, pubkey: str, created_at: int) -> bool:
        """Count a message, once: its date has to be later than that of the one before."""
        with self._database.write() as connection:
            if created_at <= settings.get_number(connection, f"panic heard:{pubkey}"):
                return False
            settings.set_number(connection, f"panic heard:{pubkey}", created_at)
            return True
