"""Devices that are bound, passkeys, notifications, the owner's own relays, language."""

from starlette.responses import Response

from bunker_core.describe import LANGUAGES, plain
from bunker_core.errors import InvalidURI
from bunker_core.nips.relay_url import parse_relay_url
from bunker_signer.approvers.lookup import MAX_CHOSEN
from bunker_signer.approvers.push_service import PushError, parse_target
from bunker_signer.console.auth.guard import cookie
from bunker_signer.console.pages.login import MAX_NAME
from bunker_signer.console.problem import Problem
from bunker_signer.console.routing import LANGUAGE_COOKIE, Form, Proof, action, fresh_by, page
from bunker_signer.console.site import Visit
from bunker_signer.qr.draw import qr_svg
from bunker_signer.store.accounts import LINK_LIFETIME, PushChoice


async def show(visit: Visit) -> Response:
    accounts = visit.console.accounts
    return visit.render(
        "devices/devices.html",
        devices=accounts.devices(),
        passkeys=accounts.passkeys(),
        languages=LANGUAGES,
        fresh=fresh_by(visit),
        application_key=visit.console.pusher.application_key,
        woken=visit.device.id in dict(accounts.pushes()),
        given_relays=visit.console.signer.given_relays,
        chosen_relays=visit.console.signer.chosen_relays,
        most_relays=MAX_CHOSEN,
    )


async def new_link(visit: Visit, _form: Form) -> Response:
    """Show a link that binds one more device, as a QR code."""
    console = visit.console
    link = f"{console.address.origin}/bind/{console.accounts.new_link(console.now())}"
    return visit.render(
        "devices/link.html", link=link, qr=qr_svg(link), minutes=LINK_LIFETIME // 60
    )


async def unbind(visit: Visit, _form: Form) -> Response:
    console = visit.console
    device_id = visit.request.path_params["id"]
    if not console.accounts.unbind(device_id):
        raise Problem("problem.not_found", 404)
    console.waiting.tell()  # its open pages end now
    if device_id != visit.device.id:
        return visit.go("/devices", "unbound")
    response = visit.go("/login")
    response.headers["set-cookie"] = cookie(console.address, "")
    return response


async def passkey_options(visit: Visit, _form: Form) -> Response:
    options = visit.console.passkeys.registration(visit.device.id)
    return Response(options, media_type="application/json")


async def add_passkey(visit: Visit, form: Form) -> Response:
    name = plain.line(form.get("name", "").strip(), MAX_NAME) or visit.device.name
    visit.console.passkeys.register(form.get("credential", ""), visit.device.id, name)
    return visit.go("/devices", "passkey")


async def remove_passkey(visit: Visit, form: Form) -> Response:
    try:
        credential_id = bytes.fromhex(form.get("id", ""))
    except ValueError:
        raise Problem("problem.request") from None
    if not visit.console.accounts.remove_passkey(credential_id):
        raise Problem("problem.not_found", 404)
    return visit.go("/devices", "passkey_removed")


async def set_confirm(visit: Visit, form: Form) -> Response:
    accounts = visit.console.accounts
    wanted = form.get("confirm") == "yes"
    if wanted and not accounts.passkeys():
        raise Problem("problem.no_passkey")
    accounts.set_confirm(wanted)
    accounts.set_guard_dangers(form.get("dangers") == "yes" and bool(accounts.passkeys()))
    return visit.go("/devices", "saved")


async def wake(visit: Visit, form: Form) -> Response:
    """Remember how this device can be woken by Web Push."""
    console = visit.console
    try:
        target = parse_target(
            form.get("endpoint", ""), form.get("key", ""), form.get("secret", ""),
            console.pusher.allowed,
        )  # fmt: skip
    except PushError as error:
        raise Problem("problem.push", reason=str(error)) from None
    detail = form.get("detail") == "yes"
    choice = PushChoice(target.endpoint, target.key, target.secret, detail, visit.texts.language)
    console.accounts.set_push(visit.device.id, choice)
    return visit.go("/devices", "woken")


async def let_sleep(visit: Visit, _form: Form) -> Response:
    visit.console.accounts.forget_push(visit.device.id)
    return visit.go("/devices", "saved")


async def add_relay(visit: Visit, form: Form) -> Response:
    """Have one more relay asked for the owner's lists: over TLS, so that nobody else answers."""
    try:
        relay = parse_relay_url(form.get("relay", ""))
    except InvalidURI:
        raise Problem("problem.own_relay") from None
    if not relay.startswith("wss://"):
        raise Problem("problem.own_relay")
    if not visit.console.signer.add_own_relay(relay, f"console: {visit.device.name}"):
        raise Problem("problem.own_relays", most=str(MAX_CHOSEN))
    return visit.go("/devices", "saved")


async def remove_relay(visit: Visit, form: Form) -> Response:
    relay = form.get("relay", "")
    if not visit.console.signer.remove_own_relay(relay, f"console: {visit.device.name}"):
        raise Problem("problem.not_found", 404)
    return visit.go("/devices", "saved")


async def set_language(visit: Visit, form: Form) -> Response:
    language = form.get("language", "")
    if language not in LANGUAGES:
        raise Problem("problem.request")
    response = visit.go("/devices")
    response.set_cookie(
        LANGUAGE_COOKIE,
        language,
        max_age=400 * 24 * 3600,
        secure=visit.console.address.secure,
        httponly=True,
        samesite="strict",
    )
    return response


routes = [
    page("/devices", show),
    action("/devices/link", new_link, proof=Proof.FRESH),
    action("/devices/{id}/unbind", unbind),
    action("/passkeys/options", passkey_options, proof=Proof.NONE),  # changes nothing
    action("/passkeys/add", add_passkey, proof=Proof.FRESH),
    action("/passkeys/remove", remove_passkey, proof=Proof.FRESH),
    action("/confirm", set_confirm, proof=Proof.FRESH),
    action("/push/wake", wake),
    action("/push/forget", let_sleep),
    action("/own-relays/add", add_relay),
    action("/own-relays/remove", remove_relay),
    action("/language", set_language, proof=Proof.NONE),
]
