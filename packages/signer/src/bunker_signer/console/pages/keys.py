"""The owner's keys: which they are, what protects them, lock and unlock."""

from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from bunker_core.nips.nip19 import encode_npub
from bunker_signer.console.problem import Problem
from bunker_signer.console.routing import Form, Proof, action, page
from bunker_signer.console.site import Visit
from bunker_signer.key.access import AccessError, KeyState, Panicked
from bunker_signer.key.identity import Identity
from bunker_signer.key.keystore import opens_by_master_key
from bunker_signer.nse import NSEError
from bunker_signer.qr.draw import qr_svg

MAX_PASSPHRASE: Final = 1024  # bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """A key as the page shows it."""

    name: str
    npub: str
    state: str
    memory: str
    protectors: tuple[str, ...]
    needs_passphrase: bool
    auto_lock: int | None
    qr: str


async def show(visit: Visit) -> Response:
    shown = [_shown(item) for item in visit.console.signer.identities]
    return visit.render("keys.html", keys=shown)


async def lock(visit: Visit, _form: Form) -> Response:
    identity = visit.console.signer.identity(visit.request.path_params["key"])
    visit.console.signer.lock(identity, f"console: {visit.device.name}")
    return visit.go("/keys", "locked")


async def unlock(visit: Visit, form: Form) -> Response:
    """Unlock by the passphrase in the form, else by the master key.

    A passphrase typed into a page has been in a str by now, in the browser and here; what is
    wiped is our own copy. Nothing keeps or logs it.
    """
    await unlock_key(visit, visit.request.path_params["key"], form)
    return visit.go("/keys", "unlocked")


async def unlock_key(visit: Visit, name: str, form: Form) -> None:
    """Unlock a key that is locked; raises Problem."""
    signer = visit.console.signer
    identity = signer.identity(name)
    if identity.state is not KeyState.LOCKED:
        return
    given = form.get("passphrase", "").encode()
    if len(given) > MAX_PASSPHRASE:
        raise Problem("problem.request")
    try:
        passphrase = bytearray(given) if given else None
        await signer.unlock(identity, passphrase, f"console: {visit.device.name}")
    except Panicked:
        raise Problem("problem.panicked", 403) from None
    except (NSEError, AccessError) as error:
        raise Problem("problem.unlock", 403, reason=str(error)) from None


def _shown(identity: Identity) -> Shown:
    npub = encode_npub(identity.user_pubkey)
    slots = identity.user.slots()
    return Shown(
        identity.name,
        npub,
        identity.state.value,
        identity.user.memory_level.value,
        tuple(slot.type for slot in slots) or ("raw",),
        not opens_by_master_key(identity.user),
        None if identity.access.auto_lock is None else round(identity.access.auto_lock),
        qr_svg(f"nostr:{npub}"),
    )


routes = [
    page("/keys", show),
    action("/keys/{key}/lock", lock, proof=Proof.NONE),
    action("/keys/{key}/unlock", unlock),
]
