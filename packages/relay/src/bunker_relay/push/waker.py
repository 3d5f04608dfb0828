"""Who is woken when: one push for a burst of requests, and never more than a phone can bear.

Anyone who knows a signer's pubkey can ask something of it, so anyone can have it woken: that is
bounded for each signer, and a push costs the same whoever caused it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from bunker_core.bounds.rate import Buckets, FixedRate
from bunker_core.nips import webpush
from bunker_relay.config import PushSettings
from bunker_relay.logs import log
from bunker_relay.push.send import PushFailed, post
from bunker_relay.push.subscriptions import Subscription, Subscriptions

AGAIN: Final = 3.0  # seconds in which one push is enough
RATE: Final = FixedRate(1 / 6, 20)  # pushes of one signer: 20 at once, then 10 a minute
MAX_SENDING: Final = 32  # pushes on their way
TTL: Final = 60  # seconds that a push service tries: a request is over soon after
PADDED: Final = 32  # bytes of every message: its length says nothing either


class Waker:
    """Pushes to the browsers of signers that are asleep."""

    def __init__(
        self,
        settings: PushSettings,
        subscriptions: Subscriptions,
        contact: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`contact` is what push services are told of us (RFC 8292, `sub`)."""
        self.settings = settings
        self.subscriptions = subscriptions
        self._contact = contact
        self._clock = clock
        self._rate = Buckets(RATE, 4096)
        self._latest: dict[str, float] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def wake(self, signers: Iterable[str]) -> bool:
        """Have signers woken; return whether one of them is, or was a moment ago.

        Returns at once: the pushes go on in the background.
        """
        woken = False
        for signer in signers:
            woken = self._wake(signer) or woken
        return woken

    def awake(self, signers: Iterable[str]) -> None:
        """Note that signers have come for what waits: what is asked next needs a push again."""
        now = int(self._clock())
        for signer in signers:
            self._latest.pop(signer, None)
            self.subscriptions.seen(signer, now)

    def test(self, signer: str) -> bool:
        """Push to a signer whatever it does, to show that it works; False when it is too often."""
        return bool(self.subscriptions.of(signer)) and self._push(signer, b"test")

    async def close(self) -> None:
        """Stop pushing."""
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _wake(self, signer: str) -> bool:
        if not self.settings.enabled or not self.subscriptions.of(signer):
            return False
        if self._clock() < self._latest.get(signer, 0.0) + AGAIN:
            return True  # the phone is on its way and will find this one, too
        if not self._push(signer, b"wake"):
            return False
        now = self._clock()
        self._latest = {name: at for name, at in self._latest.items() if at + AGAIN > now}
        self._latest[signer] = now
        return True

    def _push(self, signer: str, message: bytes) -> bool:
        now = self._clock()
        found = self.subscriptions.of(signer)
        if len(self._sending) + len(found) > MAX_SENDING or not self._rate.take(signer, now):
            return False
        for subscription in found:
            task = asyncio.create_task(self._send(signer, subscription, message))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return True

    async def _send(self, signer: str, subscription: Subscription, message: bytes) -> None:
        now = int(self._clock())
        endpoint = subscription.endpoint
        try:
            body = webpush.encrypt(
                message,
                webpush.decode(subscription.p256dh),
                webpush.decode(subscription.auth),
                padded=PADDED,
            )
            headers = webpush.headers(
                endpoint, self.subscriptions.key, self._contact, now, ttl=TTL, topic="bunker"
            )
            status = await post(endpoint, headers, body, private=self.settings.private_endpoints)
            outcome = str(status)
        except (PushFailed, OSError, ValueError) as error:
            status, outcome = 0, str(error)
        if status in webpush.GONE:
            log.info("browser is gone, forgotten", signer=signer)
            self.subscriptions.remove(signer, endpoint)
            return
        if not 200 <= status < 300 and outcome != subscription.outcome:
            log.warning("push failed", signer=signer, outcome=outcome)  # once, until it changes
        self.subscriptions.note(signer, endpoint, now, outcome)
