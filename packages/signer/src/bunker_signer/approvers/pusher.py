"""Wakes the owner's bound devices: a request shows on a phone that sleeps, until it is over.

The signer sends it itself, to the push service of each browser, encrypted for that browser.
"""

import asyncio
import json
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from bunker_core.describe import plain, texts_of
from bunker_core.describe.description import title
from bunker_core.nips import webpush
from bunker_signer.approvers.push_service import PushError, SubscriptionGone, deliver
from bunker_signer.process.logs import get_logger
from bunker_signer.request.approval import Answer, Question
from bunker_signer.store.accounts import Accounts, PushChoice

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

AT_ONCE: Final = 8  # deliveries at a time
WAITING: Final = 200  # messages that may wait for their turn; more are left out
_VAPID: Final = "vapid"  # the signer's own key, made at first use

log = get_logger(__name__)


class Pusher:
    """An approver that only wakes: the answer comes by the page that it opens."""

    def __init__(
        self,
        subject: str,
        allowed: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`subject` is how a push service can reach the sender: an https address.

        `allowed` are origins of push services that need be neither https nor public.
        """
        self.allowed: Final = frozenset(allowed)
        self._subject = subject
        self._clock = clock
        self._accounts: Accounts | None = None
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, accounts: Accounts) -> None:
        """Begin to send to the devices in `accounts`."""
        self._accounts = accounts

    async def close(self) -> None:
        """Send nothing more."""
        self._accounts = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def application_key(self) -> str:
        """The public key that browsers subscribe for, in base64url."""
        return webpush.encode(webpush.public_bytes(self._key()))

    async def ask(self, question: Question) -> Answer:
        request = question.items[0].request
        left = max(0, round(question.deadline - self._clock()))
        action = question.action
        what = title(action.method, action.kind, action.peer, len(question.items))
        for device_id, choice in self._choices():
            t = texts_of(choice.language)
            told = {"id": request, "until": int(question.deadline)}
            if choice.detail:
                told["title"] = plain.line(question.client_name, 60) or t("push.app")
                told["body"] = t.say(what)
            else:
                told["title"], told["body"] = t("push.title"), t("push.body")
            self._send(device_id, choice, told, left, request)
        try:
            await asyncio.Event().wait()  # until it is cancelled: a notification can't answer
        finally:
            for device_id, choice in self._choices():
                self._send(device_id, choice, {"id": request, "over": True}, 60, request)
        raise AssertionError

    def _choices(self) -> list[tuple[str, PushChoice]]:
        return [] if self._accounts is None else self._accounts.pushes()

    def _send(
        self, device_id: str, choice: PushChoice, told: dict[str, object], left: int, topic: str
    ) -> None:
        if len(self._tasks) >= WAITING:
            return
        task = asyncio.create_task(self._deliver(device_id, choice, told, left, topic))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self, device_id: str, choice: PushChoice, told: dict[str, object], left: int, topic: str
    ) -> None:
        target = webpush.PushTarget(choice.endpoint, choice.key, choice.secret)
        try:
            message = json.dumps(told, ensure_ascii=False).encode()
            body = webpush.encrypt(message, target.key, target.secret)
            now = int(self._clock())
            headers = webpush.headers(
                target.endpoint, self._key(), self._subject, now, ttl=left, topic=topic[:32]
            )
            async with self._at_once:
                await asyncio.to_thread(deliver, target, body, headers, self.allowed)
        except SubscriptionGone:
            if self._accounts is not None:
                self._accounts.forget_push(device_id)
        except (PushError, ValueError) as error:
            log.warning("push failed", device=device_id, error=str(error))

    def _key(self) -> "ec.EllipticCurvePrivateKey":
        """Return the signer's VAPID key, made at first use."""
        if self._accounts is None:
            raise PushError("the console is not open")
        kept = self._accounts.recall(_VAPID)
        if not kept:
            number = webpush.new_key().private_numbers().private_value
            kept = webpush.encode(number.to_bytes(32))
            self._accounts.remember(_VAPID, kept)
        return webpush.new_key(int.from_bytes(webpush.decode(kept)))
