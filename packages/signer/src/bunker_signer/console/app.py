"""The console as a Starlette app: what it is made of, its routes, and how a page is rendered."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from bunker_signer.console.auth.guard import Guard
from bunker_signer.console.pages import activity, apps, devices, health, install, keys, login, stop
from bunker_signer.console.pages import requests as request_pages
from bunker_signer.console.routing import forms_token, visit_of
from bunker_signer.console.site import Console, Visit
from bunker_signer.console.view import words
from bunker_signer.console.view.texts import texts_of

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


def shown(console: Console, visit: Visit) -> dict[str, Any]:
    """Return what every template finds by name."""
    t = visit.texts
    done = visit.request.query_params.get("done", "")
    return {
        "t": t,
        "at": lambda seconds: words.moment(seconds, t),
        "device": visit.request.state.device,
        "csrf": forms_token(visit.request),
        "path": visit.request.url.path,
        "waiting": request_pages.rows(console, visit),
        "confirm": console.accounts.confirm,
        "passkeys_offered": console.address.passkeys,
        "dangers_guarded": console.accounts.guard_dangers,
        "locked_out": [item for item in console.signer.identities if item.access.waiting],
        "undo": lambda: request_pages.undo_offer(console, visit),
        "done": t(f"done.{done}") if t.has(f"done.{done}") else "",
        "card_of": lambda request_id: request_pages.card(console, visit, request_id),
        "how_it_ended": lambda request_id: request_pages.how_it_ended(console, visit, request_id),
        "paired": lambda: bool(console.signer.apps()),
        "by_words": lambda by: words.by_words(by, t),
        "outcome_words": lambda entry: activity.outcome_words(entry, t),
        "outcome_class": activity.outcome_class,
        "language_name": lambda code: texts_of(code)("site.language"),
    }


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
