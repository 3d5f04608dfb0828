"""Who may come in, before any page is asked: the right host, not too fast, a bound device.

Also the headers that every answer carries, also the errors.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bunker_core.bounds.customer import customer
from bunker_core.bounds.rate import Buckets, FixedRate, TokenBucket
from bunker_signer.console.auth.address import Address
from bunker_signer.qr.pictures import MAX_PHOTO, MAX_SIDE
from bunker_signer.store.accounts import Accounts

MAX_BODY: Final = 64 * 1024  # bytes: the longest form is a nostrconnect:// URI
# Bytes of a form with a picture in it, by path; of a bound device alone.
MAX_PICTURE_BODY: Final = {
    "/apps/frame": MAX_SIDE * MAX_SIDE + MAX_BODY,
    "/apps/review": MAX_PHOTO + MAX_BODY,
}
COOKIE_AGE: Final = 400 * 24 * 3600  # seconds; browsers take no more (RFC 6265bis)

# Failures to come in, by a wrong link or passkey: so many at once, and so many more a second.
# A token has 192 bits, so this is about load and logs more than about luck. By address,
# and for all together in case somebody has many.
_FAILURES: Final = FixedRate(1 / 5, 5)
_ALL_FAILURES: Final = FixedRate(5, 50)
_ADDRESSES: Final = 1024
# Requests of devices that are not bound: each costs the time in which the signer signs nothing.
_STRANGER: Final = FixedRate(20, 200)
_STRANGERS: Final = FixedRate(100, 400)

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types console"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # The address of a page may hold the token that binds a device. Not `no-referrer`: with it
    # browsers send `Origin: null`, and the check of the origin needs the origin.
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), geolocation=(), microphone=(), payment=(), usb=(), "
    "publickey-credentials-get=(self), publickey-credentials-create=(self)",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def cookie_name(address: Address) -> str:
    """Return the name of the device's cookie; `__Host-` binds it to this very host."""
    return "__Host-device" if address.secure else "device"


def cookie(address: Address, token: str) -> str:
    """Return the Set-Cookie value that binds a device; an empty token unbinds it."""
    age = COOKIE_AGE if token else 0
    secure = "; Secure" if address.secure else ""
    return (
        f"{cookie_name(address)}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
    )


def csrf_token(device_token: str) -> str:
    """Return what a form of this device has to carry. It can't be made without the cookie."""
    return hmac_digest(device_token.encode(), b"csrf", sha256).hex()


def csrf_matches(device_token: str, given: str) -> bool:
    """Tell whether a form's token is the device's own."""
    return compare_digest(csrf_token(device_token).encode(), given.encode())


def same_origin(headers: Headers, address: Address) -> bool:
    """Tell whether a POST comes from a page of ours."""
    return headers.get("origin") == address.origin


class Tries:
    """Slows down who fails to come in. `now` is seconds of any clock that only goes on."""

    def __init__(self) -> None:
        self._all = TokenBucket(*_ALL_FAILURES)
        self._by_address = Buckets(_FAILURES, _ADDRESSES)

    def allowed(self, peer: str, now: float) -> bool:
        """Tell whether a try from `peer` is looked at."""
        return self._all.holds(now) and self._by_address.holds(customer(peer), now)

    def failed(self, peer: str, now: float) -> None:
        """Count a failure; what succeeds costs nothing."""
        self._by_address.take(customer(peer), now)
        self._all.take(now)


class Guard:
    """The outermost layer. Sets `device` and `device_token` in the request's state."""

    def __init__(
        self,
        app: ASGIApp,
        address: Address,
        accounts: Accounts,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._monotonic = monotonic
        self._strangers = TokenBucket(*_STRANGERS)
        self._stranger = Buckets(_STRANGER, _ADDRESSES)
        self._address = address
        self._accounts = accounts
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith("/static/"):
                    headers["cache-control"] = "no-cache"  # kept, but asked about each time
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self._address.secure:
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        headers = Headers(scope=scope)
        # A foreign name that points to us (DNS rebinding) would make a foreign page ours.
        if headers.get("host", "").lower() != self._address.netloc:
            wrong = PlainTextResponse(f"The console is at {self._address.origin}\n", 421)
            await wrong(scope, receive, send_with_headers)
            return
        token = _cookie(headers, cookie_name(self._address))
        device = self._accounts.device(token, int(self._clock())) if token else None
        if device is None and not self._has_room(scope):
            slower = PlainTextResponse("too many requests\n", 429, {"retry-after": "5"})
            await slower(scope, receive, send_with_headers)
            return
        longest = MAX_PICTURE_BODY.get(scope["path"], MAX_BODY) if device else MAX_BODY
        length = headers.get("content-length", "0")
        chunked = "transfer-encoding" in headers
        if chunked or not length.isdigit() or int(length) > longest:
            await PlainTextResponse("too large\n", 413)(scope, receive, send_with_headers)
            return
        state = scope.setdefault("state", {})
        state["device_token"] = token
        state["device"] = device
        await self._app(scope, receive, send_with_headers)

    def _has_room(self, scope: Scope) -> bool:
        """Tell whether one more request of a device that is not bound is looked at."""
        now = self._monotonic()
        peer = scope["client"][0] if scope.get("client") else ""
        # Not of all, if this one has none left: one address must not use up everybody's.
        return self._stranger.take(customer(peer), now) and self._strangers.take(now)


def _cookie(headers: Headers, name: str) -> str:
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[name].value if name in jar else ""
