"""What pages work with: the console, and one request to it. No route is known here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bunker_core.describe import Texts, plain
from bunker_signer.approvers.pusher import Pusher
from bunker_signer.console.auth.address import Address
from bunker_signer.console.auth.guard import Tries
from bunker_signer.console.problem import Problem
from bunker_signer.console.signer import Signer
from bunker_signer.console.view.waiting import Waiting
from bunker_signer.qr.pictures import Pictures
from bunker_signer.store.accounts import Accounts, Device

if TYPE_CHECKING:
    from bunker_signer.console.auth.passkeys import Passkeys


class Console:
    """What every page works with."""

    def __init__(
        self,
        address: Address,
        accounts: Accounts,
        waiting: Waiting,
        signer: Signer,
        pusher: Pusher,
        shown: "Callable[[Console, Visit], dict[str, Any]]",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`shown` returns what every template finds by name."""
        self._shown = shown
        self.address: Final = address
        self.accounts: Final = accounts
        self.waiting: Final = waiting
        self.signer: Final = signer
        self.pusher: Final = pusher
        self.clock: Final = clock
        self.monotonic: Final = monotonic
        self.tries: Final = Tries()
        self.pictures: Final = Pictures(monotonic)
        # SHA-256 of what binds the first device, where the machine's owner is shown a password.
        self.first_password: bytes | None = None
        self.streams = 0
        self.closing = False
        self._environment = Environment(
            loader=PackageLoader("bunker_signer.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(short=plain.short)

    @property
    def takes_password(self) -> bool:
        """Whether a password lets somebody in: while nobody else could be."""
        if self.first_password is None or self.accounts.devices():
            return False
        return not self.accounts.passkeys()

    @cached_property
    def passkeys(self) -> "Passkeys":
        """The passkeys; loaded when the first is made or shown, as they take 10 MB."""
        from bunker_signer.console.auth.passkeys import Passkeys

        return Passkeys(self.address, self.accounts, self.clock)

    def now(self) -> int:
        """Return Unix seconds."""
        return int(self.clock())

    def close(self) -> None:
        """End the open streams: a server that stops waits for its connections."""
        self.closing = True
        self.waiting.tell()

    def render(
        self, visit: "Visit", template: str, status: int, values: dict[str, Any]
    ) -> Response:
        """Return a page."""
        return HTMLResponse(self.fragment(visit, template, **values), status)

    def fragment(self, visit: "Visit", template: str, **values: Any) -> str:
        """Return a page or a part of one."""
        shown = {**self._shown(self, visit), **values}
        return self._environment.get_template(template).render(shown)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request to the console: who, in which language, and the console itself."""

    request: Request
    console: Console
    texts: Texts

    @property
    def device(self) -> Device:
        """The bound device; only where one is required."""
        device: Device | None = self.request.state.device
        if device is None:
            raise HTTPException(401)
        return device

    @property
    def peer(self) -> str:
        return self.request.client.host if self.request.client else ""

    def check_tries(self) -> None:
        """Raise Problem while too many tries to come in have failed."""
        if not self.console.tries.allowed(self.peer, self.console.monotonic()):
            raise Problem("problem.too_fast", 429)

    def failed(self) -> None:
        """Count a try that failed."""
        self.console.tries.failed(self.peer, self.console.monotonic())

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page."""
        return self.console.render(self, template, status, values)

    def go(self, path: str, done: str = "") -> Response:
        """Return the answer to an action: look at `path`, which says that `done` was done."""
        query = f"?{urlencode({'done': done})}" if done else ""
        return RedirectResponse(path + query, 303)
