"""The console as a Starlette app: what it is made of, its routes, and how a page is rendered."""

import time
from collections.abc import Callable
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from bunker_core.describe import plain
from bunker_signer.approvers.pusher import Pusher
from bunker_signer.console.auth.address import Address
from bunker_signer.console.auth.guard import Guard, Tries
from bunker_signer.console.pages import activity, apps, devices, health, install, keys, login, stop
from bunker_signer.console.pages import requests as request_pages
from bunker_signer.console.routing import Visit, forms_token, visit_of
from bunker_signer.console.signer import Signer
from bunker_signer.console.view import words
from bunker_signer.console.view.texts import texts_of
from bunker_signer.console.view.waiting import Waiting
from bunker_signer.qr.pictures import Pictures
from bunker_signer.store.accounts import Accounts

if TYPE_CHECKING:
    from bunker_signer.console.auth.passkeys import Passkeys

_STATIC: Final = Path(str(files("bunker_signer.console") / "static"))
ROUTES: Final[list[BaseRoute]] = [
    *login.routes,
    *request_pages.routes,
    *apps.routes,
    *keys.routes,
    *activity.routes,
    *health.routes,
    *devices.routes,
    *stop.routes,
    *install.routes,
    Mount("/static", StaticFiles(directory=_STATIC)),
]


class Console:
    """What every page works with."""

    def __init__(
        self,
        address: Address,
        accounts: Accounts,
        waiting: Waiting,
        signer: Signer,
        pusher: Pusher,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address: Final = address
        self.accounts: Final = accounts
        self.waiting: Final = waiting
        self.signer: Final = signer
        self.pusher: Final = pusher
        self.clock: Final = clock
        self.monotonic: Final = monotonic
        self.tries: Final = Tries()
        self.pictures: Final = Pictures(monotonic)
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

    def render(self, visit: Visit, template: str, status: int, values: dict[str, Any]) -> Response:
        """Return a page."""
        return HTMLResponse(self.fragment(visit, template, **values), status)

    def fragment(self, visit: Visit, template: str, **values: Any) -> str:
        """Return a page or a part of one."""
        t = visit.texts
        done = visit.request.query_params.get("done", "")
        return self._environment.get_template(template).render(
            t=t,
            at=lambda seconds: words.moment(seconds, t),
            device=visit.request.state.device,
            csrf=forms_token(visit.request),
            path=visit.request.url.path,
            waiting=request_pages.rows(self, visit),
            confirm=self.accounts.confirm,
            passkeys_offered=self.address.passkeys,
            dangers_guarded=self.accounts.guard_dangers,
            locked_out=[item for item in self.signer.identities if item.access.waiting],
            undo=lambda: request_pages.undo_offer(self, visit),
            done=t(f"done.{done}") if t.has(f"done.{done}") else "",
            card_of=lambda request_id: request_pages.card(self, visit, request_id),
            how_it_ended=lambda request_id: request_pages.how_it_ended(self, visit, request_id),
            paired=lambda: bool(self.signer.apps()),
            by_words=lambda by: words.by_words(by, t),
            outcome_words=lambda entry: activity.outcome_words(entry, t),
            outcome_class=activity.outcome_class,
            language_name=lambda code: texts_of(code)("site.language"),
            **values,
        )


def create_app(console: Console) -> Starlette:
    """Return the app that serves `console`."""
    app = Starlette(
        routes=ROUTES,
        middleware=[
            Middleware(
                Guard, address=console.address, accounts=console.accounts, clock=console.clock
            )
        ],
        exception_handlers={HTTPException: _not_found},  # type: ignore[dict-item]
    )
    app.state.console = console
    return app


async def _not_found(request: Request, error: HTTPException) -> Response:
    visit = visit_of(request)
    key = "problem.not_found" if error.status_code == 404 else "problem.request"
    back = "/requests" if request.state.device else "/login"
    return visit.render("problem.html", error.status_code, said=visit.texts(key), back=back)
