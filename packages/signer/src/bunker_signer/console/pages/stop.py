"""What is for an emergency, one tap from every page: pause, lock, panic."""

from starlette.responses import Response

from bunker_signer.console.auth.guard import cookie
from bunker_signer.console.routing import Form, Proof, action, page
from bunker_signer.console.site import Visit
from bunker_signer.key.access import KeyState


async def show(visit: Visit) -> Response:
    states = {item.state for item in visit.console.signer.identities}
    return visit.render(
        "stop/stop.html",
        apps=len(visit.console.signer.apps()),
        devices=len(visit.console.accounts.devices()),
        some_unlocked=KeyState.UNLOCKED in states,
        some_paused=KeyState.PAUSED in states,
    )


async def pause(visit: Visit, _form: Form) -> Response:
    for identity in visit.console.signer.identities:
        if identity.state is KeyState.UNLOCKED:
            visit.console.signer.pause(identity, _by(visit))
    return visit.go("/stop", "paused")


async def resume(visit: Visit, _form: Form) -> Response:
    for identity in visit.console.signer.identities:
        visit.console.signer.resume(identity, _by(visit))
    return visit.go("/stop", "resumed")


async def lock(visit: Visit, _form: Form) -> Response:
    for identity in visit.console.signer.identities:
        if identity.state is not KeyState.LOCKED:
            visit.console.signer.lock(identity, _by(visit))
    return visit.go("/stop", "all_locked")


async def panic(visit: Visit, _form: Form) -> Response:
    """Everything at once. This device is out as well, so the answer is the last page it sees."""
    console = visit.console
    result = console.signer.panic(console.waiting, _by(visit))
    console.waiting.tell()  # every open page ends now
    visit.request.state.device = None
    response = visit.render("stop/panicked.html", sessions=result["sessions"])
    response.headers["set-cookie"] = cookie(console.address, "")
    return response


def _by(visit: Visit) -> str:
    return f"console: {visit.device.name}"


routes = [
    page("/stop", show),
    action("/stop/pause", pause),
    action("/stop/resume", resume),
    action("/stop/lock", lock, proof=Proof.NONE),
    action("/stop/panic", panic),
]
