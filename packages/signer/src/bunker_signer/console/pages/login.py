"""How a device gets in: by a single-use link, or by a passkey."""

import re
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from urllib.parse import unquote

from starlette.responses import Response

from bunker_core.describe import plain
from bunker_signer.console.auth.guard import cookie
from bunker_signer.console.problem import Problem
from bunker_signer.console.routing import Form, Proof, action, page
from bunker_signer.console.site import Visit

MAX_NAME: Final = 40  # characters of a device's name
# Where a login may go on to: pages of ours that a link from elsewhere can mean.
_NEXT: Final = re.compile(r"/(requests(/[A-Za-z0-9]{1,64})?|apps|keys|activity|health|devices)?")
# What a browser says of its machine, in the order of looking.
_MACHINES: Final = ("iPhone", "iPad", "Android", "Windows", "Macintosh", "CrOS", "Linux")


async def show_link(visit: Visit) -> Response:
    """Show what a link is for. Looking does not use it up: messengers look at links, too."""
    token = visit.request.path_params["token"]
    visit.check_tries()
    if not visit.console.accounts.link_works(token, visit.console.now()):
        visit.failed()
        raise Problem("problem.link", 404)
    return visit.render("login/bind.html", token=token, suggested=_machine(visit))


async def use_link(visit: Visit, form: Form) -> Response:
    token = visit.request.path_params["token"]
    name = _name(form.get("name", ""), visit)
    bound = visit.console.accounts.bind(token, name, visit.console.now())
    if bound is None:
        visit.failed()
        raise Problem("problem.link", 404)
    return _let_in(visit, bound, "/requests?done=bound")


async def show_login(visit: Visit) -> Response:
    target = _next(visit.request.query_params.get("next", ""))
    if visit.request.state.device is not None:
        return visit.go(target)
    return visit.render(
        "login/login.html",
        next=target,
        passkeys_there=bool(visit.console.accounts.passkeys()),
        password_taken=visit.console.takes_password,
    )


async def use_password(visit: Visit, form: Form) -> Response:
    """Bind the first device by the password that its owner's system shows."""
    visit.check_tries()
    console = visit.console
    given = sha256(form.get("password", "").strip().encode()).digest()
    if not console.takes_password or not compare_digest(given, console.first_password or b""):
        visit.failed()
        raise Problem("problem.password", 403)
    token = console.accounts.add_device(_machine(visit), console.now())
    return _let_in(visit, token, "/requests?done=bound")


async def login_options(visit: Visit, _form: Form) -> Response:
    return Response(visit.console.passkeys.login(), media_type="application/json")


async def log_in(visit: Visit, form: Form) -> Response:
    try:
        passkey = visit.console.passkeys.log_in(form.get("credential", ""))
    except Problem:
        visit.failed()
        raise
    name = f"{_machine(visit)} ({passkey.name})"[:MAX_NAME]
    token = visit.console.accounts.add_device(name, visit.console.now())
    return _let_in(visit, token, _next(form.get("next", "")))


async def confirm_options(visit: Visit, form: Form) -> Response:
    """Return the challenge for a form that is about to be sent; `path` is where to."""
    fields = dict(form)
    path = fields.pop("confirm_path", "")
    options = visit.console.passkeys.confirmation(visit.device.id, path, fields)
    return Response(options, media_type="application/json")


async def log_out(visit: Visit, _form: Form) -> Response:
    visit.console.accounts.unbind(visit.device.id)
    visit.console.waiting.tell()
    response = visit.go("/login")
    response.headers["set-cookie"] = cookie(visit.console.address, "")
    return response


def _let_in(visit: Visit, token: str, target: str) -> Response:
    response = visit.go(target)
    response.headers["set-cookie"] = cookie(visit.console.address, token)
    return response


def _next(path: str) -> str:
    """Return a page of ours: a link must not send anybody elsewhere."""
    wanted = unquote(path)
    return wanted if wanted and _NEXT.fullmatch(wanted) else "/requests"


def _name(given: str, visit: Visit) -> str:
    return plain.line(given.strip(), MAX_NAME) or _machine(visit)


def _machine(visit: Visit) -> str:
    agent = visit.request.headers.get("user-agent", "")
    return next((name for name in _MACHINES if name in agent), visit.texts("device.unknown"))


routes = [
    page("/bind/{token}", show_link, public=True),
    action("/bind/{token}", use_link, public=True),
    page("/login", show_login, public=True),
    action("/login/options", login_options, public=True),
    action("/login", log_in, public=True),
    action("/login/password", use_password, public=True),
    action("/confirm/options", confirm_options, proof=Proof.NONE),
    action("/logout", log_out, proof=Proof.NONE),
]
