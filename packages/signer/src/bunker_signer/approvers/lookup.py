"""Asks the owner's own relays, if they agreed, what a request would replace or delete.

What the signer signed itself it knows; a list that was changed by an app with another signer it
does not. Only events that the owner signed are taken, and the relays learn that somebody looks at
the owner's public lists: nothing of the request.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Final

from bunker_core.describe.change import d_tag
from bunker_core.errors import BunkerError
from bunker_core.event import is_hex
from bunker_core.filter import Filter
from bunker_core.kinds import Storage, storage
from bunker_core.pool import Incoming, RelayPool
from bunker_signer.approvers.known import KnownOwner
from bunker_signer.process.logs import get_logger
from bunker_signer.request.approval import Answer, Question

TIMEOUT: Final = 6.0  # seconds for all relays: a person decides faster than that seldom
EVERY: Final = 20.0  # seconds in which the same is not asked again
AT_ONCE: Final = 4  # questions that are looked up at a time; others go without
MAX_EVENTS: Final = 64  # of one look-up
MAX_CHOSEN: Final = 8  # relays that the owner can add while the signer runs
_MAX_IDS: Final = 100  # events of a deletion that are asked for

log = get_logger(__name__)


class OwnerRelays:
    """An approver that only looks: `tell` is called when more is known than before."""

    def __init__(
        self,
        given: Sequence[str],
        known: KnownOwner,
        pubkey_of: Callable[[str], str],
        tell: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        chosen: Sequence[str] = (),
    ) -> None:
        """`given` were named at the start, `chosen` in the console; without any nobody is asked.

        `pubkey_of` returns the user pubkey of a key's name.
        """
        self.given: Final = tuple(given)
        self.chosen = tuple(chosen)
        self._known = known
        self._pubkey_of = pubkey_of
        self._tell = tell
        self._clock = clock
        self._asked: dict[Filter, float] = {}
        self._running = 0

    async def ask(self, question: Question) -> Answer:
        wanted = self._filter(question) if self.given or self.chosen else None
        now = self._clock()
        self._asked = {key: at for key, at in self._asked.items() if now < at + EVERY}
        if wanted is not None and wanted not in self._asked and self._running < AT_ONCE:
            self._asked[wanted] = now
            self._running += 1
            try:
                await self._look(question.key_name, wanted)
            except BunkerError as error:
                log.info("the owner's relays can't be asked", error=str(error))
            finally:
                self._running -= 1
        await asyncio.Event().wait()  # until it is cancelled: relays decide nothing
        raise AssertionError

    def _filter(self, question: Question) -> Filter | None:
        kind = question.action.kind
        templates = [item.template for item in question.items if item.template is not None]
        author = frozenset({self._pubkey_of(question.key_name)})
        if kind == 5:
            tags = (tag for item in templates for tag in item.tags if len(tag) > 1)
            ids = {tag[1] for tag in tags if tag[0] == "e" and is_hex(tag[1], 64)}
            wanted = frozenset(sorted(ids)[:_MAX_IDS])
            return Filter(ids=wanted, authors=author, limit=_MAX_IDS) if wanted else None
        if kind is None or storage(kind) not in (Storage.REPLACEABLE, Storage.ADDRESSABLE):
            return None
        names = frozenset(d_tag(item) for item in templates)
        named = (("d", names),) if storage(kind) is Storage.ADDRESSABLE else ()
        return Filter(authors=author, kinds=frozenset({kind}), tags=named, limit=MAX_EVENTS)

    async def _look(self, key_name: str, wanted: Filter) -> None:
        count = 0
        relays = tuple(dict.fromkeys((*self.given, *self.chosen)))

        def take(incoming: Incoming) -> None:
            nonlocal count
            event = incoming.event  # verified by the pool; whether it was asked for, is not
            if count < MAX_EVENTS and wanted.matches(event):
                count += 1
                self._known.signed(key_name, event)

        # Connections of its own: they end with the look-up, and the signer's are not used for it.
        async with RelayPool(relays) as pool:
            subscription = pool.subscribe(wanted)
            serving = asyncio.create_task(subscription.serve(take))
            try:
                # With half of the relays away what the others say still counts.
                with contextlib.suppress(BunkerError):
                    await subscription.live(TIMEOUT, relays)
                await asyncio.sleep(0)
            finally:
                subscription.close()
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
        if count:
            self._tell()
