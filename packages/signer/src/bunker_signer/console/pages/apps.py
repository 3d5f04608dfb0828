"""Paired apps: pair one, see what it may do, rename it, revoke it."""

from typing import Final

from starlette.responses import JSONResponse, Response

from bunker_core.describe import plain
from bunker_core.nips.bunker_uri import parse_nostrconnect_uri
from bunker_core.nips.nip46 import Permission, parse_permissions
from bunker_signer.console.pages.activity import tell
from bunker_signer.console.problem import Problem
from bunker_signer.console.routing import Form, Proof, action, page
from bunker_signer.console.signer import MAX_NAME, App
from bunker_signer.console.site import Visit
from bunker_signer.console.view import words
from bunker_signer.policy import Effect, Grant, Profile, profile_grants
from bunker_signer.qr.draw import qr_svg
from bunker_signer.qr.pictures import MAX_SIDE
from bunker_signer.store.audit_log import AuditFilter

RECENT: Final = 10  # entries of an app's own activity
_REQUESTED: Final = 40  # wishes of an app that are shown


async def show_all(visit: Visit) -> Response:
    return visit.render(
        "apps/apps.html",
        apps=[(app, words.name_of(app.client.metadata.name, visit.texts)) for app in _apps(visit)],
    )


async def show_one(visit: Visit) -> Response:
    app = _app(visit)
    t = visit.texts
    held = [(grant, _spelt(visit, grant)) for grant in app.grants]
    client = app.client
    recent = visit.console.signer.entries(
        AuditFilter(key_name=client.key_name, client_pubkey=client.pubkey), RECENT
    )
    return visit.render(
        "apps/app.html",
        app=app,
        name=words.name_of(client.metadata.name, t),
        url=plain.line(client.metadata.url, 120),
        held=held,
        requested=_wishes(visit, parse_permissions(client.requested)),
        recent=tell(visit, recent),
        relays=client.relays,
    )


async def show_new(visit: Visit) -> Response:
    return visit.render(
        "apps/pair.html",
        identities=visit.console.signer.identities,
        pictures=visit.console.pictures.readable,
        side=MAX_SIDE,
    )


async def invite(visit: Visit, form: Form) -> Response:
    """Show a bunker:// URI for one app."""
    identity = visit.console.signer.identity(form.get("key", ""))
    uri = str(visit.console.signer.invite(identity, profile_grants(_profile(form))))
    return visit.render("apps/invite.html", uri=uri, qr=qr_svg(uri))


async def look(visit: Visit, form: Form) -> Response:
    """Look for a code in one frame of the camera; the page sends the next after the answer."""
    try:
        width, height = int(form.get("width", "")), int(form.get("height", ""))
    except ValueError:
        raise Problem("problem.request") from None
    return JSONResponse({"text": await visit.console.pictures.frame(form.picture, width, height)})


async def review(visit: Visit, form: Form) -> Response:
    """Show what a nostrconnect:// URI says, typed or in a photo, before it is made use of."""
    text = form.get("uri", "")
    if not text.strip() and form.picture:
        text = await _read_photo(visit, form.picture)
    uri = parse_nostrconnect_uri(text)
    return visit.render(
        "apps/review.html",
        uri=str(uri),
        identities=visit.console.signer.identities,
        name=words.name_of(uri.metadata.name, visit.texts),
        url=plain.line(uri.metadata.url, 120),
        client_pubkey=uri.client_pubkey,
        relays=[plain.line(relay, 120) for relay in uri.relays],
        requested=_wishes(visit, uri.permissions),
    )


async def accept(visit: Visit, form: Form) -> Response:
    """Pair the app of a nostrconnect:// URI."""
    uri = parse_nostrconnect_uri(form.get("uri", ""))
    signer = visit.console.signer
    identity = signer.identity(form.get("key", ""))
    delivered = await signer.accept(identity, uri, profile_grants(_profile(form)))
    path = f"/apps/{identity.name}/{uri.client_pubkey}"
    return visit.go(path, "paired" if delivered else "paired_silent")


async def rename(visit: Visit, form: Form) -> Response:
    app = _app(visit)
    name = plain.line(form.get("name", "").strip(), MAX_NAME)
    visit.console.signer.rename(app.client.key_name, app.client.pubkey, name, _by(visit))
    return visit.go(visit.request.url.path.removesuffix("/rename"), "saved")


async def revoke(visit: Visit, _form: Form) -> Response:
    app = _app(visit)
    visit.console.signer.revoke(app.client.key_name, app.client.pubkey, _by(visit))
    return visit.go("/apps", "revoked")


async def take_grant(visit: Visit, form: Form) -> Response:
    client = _app(visit).client
    number = form.get("grant", "")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise Problem("problem.request")
    visit.console.signer.take_grant(client.key_name, client.pubkey, int(number), _by(visit))
    return visit.go(visit.request.url.path.removesuffix("/grants"), "saved")


async def _read_photo(visit: Visit, photo: bytes) -> str:
    text = await visit.console.pictures.photo(photo)
    if not text:
        raise Problem("problem.no_code")
    return text


def _apps(visit: Visit) -> tuple[App, ...]:
    return visit.console.signer.apps()


def _app(visit: Visit) -> App:
    parameters = visit.request.path_params
    app = visit.console.signer.app(parameters["key"], parameters["pubkey"])
    if app is None:
        raise Problem("problem.not_found", 404)
    return app


def _by(visit: Visit) -> str:
    return f"console: {visit.device.name}"


def _profile(form: Form) -> Profile:
    try:
        return Profile(form.get("profile", Profile.ASK.value))
    except ValueError:
        raise Problem("problem.request") from None


def _wishes(visit: Visit, wanted: tuple[Permission, ...]) -> list[str]:
    return [words.grant_words(item.method, item.param, visit.texts) for item in wanted[:_REQUESTED]]


def _spelt(visit: Visit, grant: Grant) -> str:
    """Return what a grant allows or rules out, and for how long."""
    t = visit.texts
    what = words.grant_words(grant.method, grant.param, t)
    parts = [what if grant.effect is Effect.ALLOW else t("grant.never", what=what)]
    if grant.expires_at is not None and grant.expires_at <= visit.console.now():
        parts.append(t("grant.expired"))
    if grant.uses_left is not None:
        parts.append(t.number("grant.uses", grant.uses_left))
    if grant.rate is not None:
        parts.append(t("grant.rate", count=grant.rate.count, seconds=grant.rate.seconds))
    return " · ".join(parts)


routes = [
    page("/apps", show_all),
    page("/apps/new", show_new),
    action("/apps/invite", invite),
    action("/apps/frame", look, proof=Proof.NONE),  # changes nothing
    action("/apps/review", review, proof=Proof.NONE),  # nor does this
    action("/apps/accept", accept),
    page("/apps/{key}/{pubkey}", show_one),
    action("/apps/{key}/{pubkey}/rename", rename),
    action("/apps/{key}/{pubkey}/revoke", revoke),
    action("/apps/{key}/{pubkey}/grants", take_grant),
]
