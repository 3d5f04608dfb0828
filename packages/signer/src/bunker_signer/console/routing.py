"""What every handler is wrapped in: a page is looked at, an action changes something.

An action is reached by POST alone and runs only after its form is known to come from a page of
ours, on a bound device, and, if the owner chose that, with their passkey: every action, apart from
the few that say otherwise. What lets somebody in needs a fresh proof whatever the owner chose.
"""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from enum import Enum
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bunker_core.errors import BunkerError
from bunker_signer.console.auth.guard import MAX_PICTURE_BODY, csrf_matches, csrf_token, same_origin
from bunker_signer.console.problem import Problem
from bunker_signer.console.site import Console, Visit
from bunker_signer.console.view import texts
from bunker_signer.qr.pictures import MAX_PHOTO, Busy, NoPicture
from bunker_signer.store.accounts import LINK_LIFETIME

LANGUAGE_COOKIE: Final = "language"
MAX_FIELDS: Final = 64
# Where to try again what did not work, if not at the start.
_BACK: Final = {
    "/apps/review": "/apps/new",
    "/apps/accept": "/apps/new",
    "/own-relays/add": "/devices",
}


class Form(dict[str, str]):
    """The fields of a form, and the picture that came with it."""

    picture: bytes = b""


Page = Callable[[Visit], Awaitable[Response]]
Action = Callable[[Visit, Form], Awaitable[Response]]


def page(path: str, handler: Page, *, public: bool = False) -> Route:
    """Return a route that shows something."""

    async def serve(request: Request) -> Response:
        visit = visit_of(request)
        if not public and request.state.device is None:
            return _send_to_login(visit)
        return await _with_problems(visit, handler(visit))

    return Route(path, serve, methods=["GET"])


class Proof(Enum):
    """What an action needs, beside a bound device."""

    CHOSEN = "chosen"  # a passkey, if the owner chose to be asked
    ALWAYS = "always"  # a passkey, whatever the owner chose for the rest
    FRESH = "fresh"  # a passkey, or without any the machine itself: a new link, or a code
    NONE = "none"


class ActionRoute(Route):
    """A route that changes something; `proof` says what it needs."""

    proof: Proof | Callable[[Visit, Form], Proof] = Proof.CHOSEN


def action(
    path: str,
    handler: Action,
    *,
    public: bool = False,
    proof: Proof | Callable[[Visit, Form], Proof] = Proof.CHOSEN,
) -> ActionRoute:
    """Return a route that changes something.

    One that is `public` is slowed down instead of asking for a device. `proof` can depend on what
    the form says: to deny needs none.
    """

    async def serve(request: Request) -> Response:
        visit = visit_of(request)
        return await _with_problems(visit, _act(visit, handler, public=public, proof=proof))

    route = ActionRoute(path, serve, methods=["POST"])
    route.proof = Proof.NONE if public else proof
    return route


async def _act(
    visit: Visit, handler: Action, *, public: bool, proof: Proof | Callable[[Visit, Form], Proof]
) -> Response:
    request, console = visit.request, visit.console
    if not same_origin(request.headers, console.address):
        raise Problem("problem.origin", 403)
    if public:
        visit.check_tries()
    elif request.state.device is None:
        raise Problem("problem.unbound", 401)
    with_picture = _may_hold_a_picture(request)
    try:
        async with console.pictures.upload() if with_picture else nullcontext():
            form = await (_read_picture(request) if with_picture else _read_fields(request))
            token: str = request.state.device_token
            if not public and not csrf_matches(token, form.pop("csrf", "")):
                raise Problem("problem.csrf", 403)
            if not public:
                _prove(visit, form, proof if isinstance(proof, Proof) else proof(visit, form))
            return await handler(visit, form)
    except Busy:
        raise Problem("problem.too_fast", 429) from None
    except NoPicture:
        raise Problem("problem.picture") from None


def fresh_by(visit: Visit) -> str:
    """Return how a bound device proves that it is the owner's now.

    `passkey` where there is one; else `link`, just after a link bound it; else `code`.
    """
    console = visit.console
    if console.accounts.passkeys():
        return "passkey"
    young = console.now() - visit.device.bound_at <= LINK_LIFETIME
    return "link" if young else "code"


def _prove(visit: Visit, form: Form, needed: Proof) -> None:
    """Raise Problem unless the form holds the proof that it needs."""
    console = visit.console
    shown, code = form.pop("proof", ""), form.pop("code", "")
    way = ""
    if needed is Proof.FRESH:
        way = fresh_by(visit)
    elif needed is Proof.ALWAYS or (needed is Proof.CHOSEN and console.accounts.confirm):
        way = "passkey"
    if way == "passkey":
        console.passkeys.check(shown, visit.device.id, visit.request.url.path, form)
    elif way == "code":
        visit.check_tries()
        if not console.accounts.use_code(code, console.now()):
            visit.failed()
            raise Problem("problem.code", 403)


async def _read_fields(request: Request) -> Form:
    """Read a form; raises HTTPException."""
    async with request.form(max_files=0, max_fields=MAX_FIELDS) as data:
        return Form((key, value) for key, value in data.items() if isinstance(value, str))


async def _read_picture(request: Request) -> Form:
    """Read a form with a picture; raises HTTPException. How long it can be, the guard saw to."""
    parser = _InMemory(request.headers, request.stream(), max_files=1, max_fields=MAX_FIELDS)
    try:
        data = await parser.parse()
    except MultiPartException:
        raise HTTPException(400) from None
    form = Form()
    for key, value in data.items():
        if isinstance(value, str):
            form[key] = value
        else:
            form.picture = await value.read()
    await data.close()
    return form


def _may_hold_a_picture(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    return request.url.path in MAX_PICTURE_BODY and kind.startswith("multipart/form-data")


class _InMemory(MultiPartParser):
    """Writes no picture to a disk: the code in it is good for a pairing."""

    spool_max_size = MAX_PHOTO


def forms_token(request: Request) -> str:
    """Return the CSRF token for the forms of a page."""
    return csrf_token(request.state.device_token) if request.state.device else ""


def visit_of(request: Request) -> Visit:
    console: Console = request.app.state.console
    language = texts.choose(
        request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", "")
    )
    return Visit(request, console, language)


async def _with_problems(visit: Visit, work: Awaitable[Response]) -> Response:
    try:
        return await work
    except Problem as problem:
        said = visit.texts(problem.key, **problem.values)
        status = problem.status
    except BunkerError as error:
        said, status = str(error), 400
    back = _BACK.get(
        visit.request.url.path, "/requests" if visit.request.state.device else "/login"
    )
    return visit.render("problem.html", status, said=said, back=back)


def _send_to_login(visit: Visit) -> Response:
    """Return a page that goes on to the login by itself.

    Not a redirect: who follows a link from another page comes without the SameSite=Strict cookie,
    and a redirect would go on without it. The step from our own page carries it, so a bound
    device arrives where the link pointed, and any other sees the login.
    """
    path = quote(visit.request.url.path, safe="/")
    return visit.render("login/continue.html", 401, target=f"/login?next={quote(path, safe='')}")
