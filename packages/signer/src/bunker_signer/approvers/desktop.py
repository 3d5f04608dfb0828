"""A desktop notification with Allow once and Deny (org.freedesktop.Notifications, over D-Bus).

What does not fit into a notification is not allowed from one: it has Deny, and opens the console.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Final

from bunker_core.describe import Texts, texts_of
from bunker_core.describe.lines import HEAD, TAGS, lines
from bunker_core.errors import BunkerError
from bunker_core.local.extras import how_to_install
from bunker_signer.approvers.describe import headline
from bunker_signer.process.logs import get_logger
from bunker_signer.request.approval import Answer, Question, Verdict

if TYPE_CHECKING:
    from jeepney.io.asyncio import DBusRouter

FITS: Final = 6  # lines and
FITS_CHARACTERS: Final = 400  # characters, that a notification shows without cutting them
_NAME: Final = "org.freedesktop.Notifications"
_PATH: Final = "/org/freedesktop/Notifications"
_URGENT: Final = 2
_SOURCE: Final = "desktop notification"

log = get_logger(__name__)


class DesktopError(BunkerError):
    """There is no desktop that shows notifications."""


class DesktopApprover:
    """Asks by notifications on the session's bus."""

    def __init__(
        self,
        router: "DBusRouter",
        service: str,
        clock: Callable[[], float],
        may_allow: Callable[[str], bool] = lambda _: True,
        texts: Texts | None = None,
    ) -> None:
        """`service` is the unique name on the bus of who shows notifications.

        `may_allow` tells whether a key, by name, is unlocked: nobody types a passphrase here.
        """
        self._router = router
        self._service = service
        self._clock = clock
        self.may_allow = may_allow
        self._texts = texts or texts_of("en")

    async def ask(self, question: Question) -> Answer:
        from jeepney import HeaderFields, MatchRule

        rule = MatchRule(type="signal", interface=_NAME, member="ActionInvoked", path=_PATH)
        with self._router.filter(rule, bufsize=64) as invoked:
            number = await self._show(question)
            try:
                while True:
                    message = await invoked.get()
                    # Anybody on the bus can send a signal of that name.
                    sender = message.header.fields.get(HeaderFields.sender)
                    if sender != self._service or message.body[0] != number:
                        continue
                    if message.body[1] == "once" and self._fits(question):
                        return Answer(Verdict.ONCE, _SOURCE)
                    if message.body[1] == "deny":
                        return Answer(Verdict.DENY, _SOURCE)
            finally:
                await self._call("CloseNotification", "u", (number,))

    def _fits(self, question: Question) -> bool:
        """Tell whether all of a question is on its notification, and no second look is due."""
        described = question.description(self._clock())
        text = lines(described, self._texts)
        whole = all(
            len(detail.content) <= HEAD and len(detail.tags) <= TAGS for detail in described.details
        )
        return (
            whole
            and not described.dangers
            and len(text) <= FITS
            and sum(map(len, text)) <= FITS_CHARACTERS
            and self.may_allow(question.key_name)
        )

    async def _show(self, question: Question) -> int:
        t = self._texts
        text = lines(question.description(self._clock()), t)
        actions = ["deny", t("desktop.deny")]
        if self._fits(question):
            actions += ["once", t("desktop.once")]
        else:
            text = [*text[: FITS - 1], t("desktop.more", id=question.id)]
        body = escape("\n".join(line.strip() for line in text)[: 2 * FITS_CHARACTERS], quote=False)
        left = max(0, round((question.deadline - self._clock()) * 1000))
        hints = {"urgency": ("y", _URGENT), "category": ("s", "im")}
        values = ("nostr-bunker", 0, "dialog-password", headline(question, t), body, actions, hints,
                  min(left, 2**31 - 1))  # fmt: skip
        reply = await self._call("Notify", "susssasa{sv}i", values)
        return int(reply[0])

    async def _call(self, method: str, signature: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        from jeepney import DBusAddress, MessageType, new_method_call

        address = DBusAddress(_PATH, bus_name=_NAME, interface=_NAME)
        reply = await self._router.send_and_get_reply(
            new_method_call(address, method, signature, values)
        )
        if reply.header.message_type is MessageType.error:
            raise DesktopError(f"the desktop refused the notification: {reply.body}")
        return tuple(reply.body)


@asynccontextmanager
async def desktop(clock: Callable[[], float]) -> AsyncIterator[DesktopApprover]:
    """Yield an approver on the session's bus; raises DesktopError when there is none."""
    try:
        from jeepney import DBusAddress, MatchRule, MessageType, message_bus, new_method_call
        from jeepney.io.asyncio import Proxy, open_dbus_router
    except ModuleNotFoundError:
        raise DesktopError(
            f"--desktop needs jeepney: {how_to_install('nostr-bunker-signer', 'desktop')}"
        ) from None
    try:
        async with open_dbus_router(bus="SESSION") as router:
            ping = DBusAddress(_PATH, bus_name=_NAME, interface=_NAME)
            reply = await router.send_and_get_reply(new_method_call(ping, "GetServerInformation"))
            if reply.header.message_type is MessageType.error:
                raise DesktopError("--desktop: nothing on this desktop shows notifications")
            (service,) = await Proxy(message_bus, router).GetNameOwner(_NAME)
            rule = MatchRule(type="signal", interface=_NAME, member="ActionInvoked", path=_PATH)
            await Proxy(message_bus, router).AddMatch(rule)
            yield DesktopApprover(router, str(service), clock)
    except (OSError, KeyError, asyncio.IncompleteReadError) as error:
        raise DesktopError(f"--desktop: the session's bus can't be reached ({error})") from None
