"""The application that serves the page, and lets a phone join by its one-time link."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bunker_core.errors import BunkerError
from bunker_core.local.body import BodyRefused, read_body
from bunker_core.nips.nip98 import Authorizations, InvalidAuthorization, check_authorization
from bunker_core.nips.relay_url import parse_relay_url
from bunker_phone.phones import Phones
from bunker_phone.site import Site

# No script, style, frame, form or picture but our own. A signer has to reach relays of any name;
# on this machine also without TLS.
_CSP: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "connect-src 'self' https: wss: http://localhost:* ws://localhost:* "
        "http://127.0.0.1:* ws://127.0.0.1:*",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types bunker",
    ]
)
HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Permissions-Policy": "camera=(self), publickey-credentials-create=(self), "
    "publickey-credentials-get=(self), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-cache",
}
_TLS: Final = {"Strict-Transport-Security": "max-age=31536000"}
_MAX_BODY: Final = 8192  # bytes
_BODY_TIMEOUT: Final = 10.0  # seconds
_TRIES: Final = (20, 60.0)  # joins that may fail, in so many seconds, whoever tries


@dataclass(slots=True)
class Host:
    """Where the page is served and which relays it is told of.

    `origin` is the one that people type, such as https://phone.example.org.
    """

    origin: str
    relays: tuple[str, ...] = ()
    on_join: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.time
    _failures: list[float] = field(default_factory=list)

    @property
    def authority(self) -> str:
        """The only Host header that is answered: no other name may show this page."""
        return urlsplit(self.origin).netloc

    def tired(self) -> bool:
        """Tell whether too many joins have failed lately."""
        count, seconds = _TRIES
        now = self.clock()
        self._failures = [at for at in self._failures if at > now - seconds]
        return len(self._failures) >= count

    def failed(self) -> None:
        """Count a join that failed."""
        self._failures.append(self.clock())


def create_app(site: Site, phones: Phones, host: Host) -> Starlette:
    """Return the application."""
    used = Authorizations()
    headers = HEADERS | (_TLS if host.origin.startswith("https:") else {})

    async def page(request: Request) -> Response:
        if (wrong := _wrong_host(request)) is not None:
            return wrong
        found = site.pages.get(request.path_params["path"])
        if found is None:
            return PlainTextResponse("there is no such page\n", 404, headers=headers)
        tag = f'"{found.sha256[:32]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**headers, "ETag": tag})
        return Response(found.body, headers={**headers, "ETag": tag}, media_type=found.media_type)

    async def join(request: Request) -> Response:
        if (wrong := _wrong_host(request)) is not None:
            return wrong
        if host.tired():
            return _error(429, "too many tries, wait a minute")
        try:
            body = await read_body(request.stream(), _MAX_BODY, _BODY_TIMEOUT)
        except BodyRefused as error:
            return _error(error.status, str(error))
        try:
            pubkey, event_id = check_authorization(
                request.headers.get("authorization", ""),
                relay_urls=frozenset({parse_relay_url(f"ws{host.origin[4:]}/join")}),
                method="POST",
                body=body,
                now=int(host.clock()),
            )
            if not used.use(event_id, host.clock()):
                raise InvalidAuthorization("authorization was used before")
            said = json.loads(body)
            token, name = said["token"], said.get("name", "")
            if not isinstance(token, str) or not isinstance(name, str):
                raise TypeError
        except InvalidAuthorization as error:
            host.failed()
            return _error(401, str(error))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            host.failed()
            return _error(400, "the request can't be read")
        try:
            good = phones.join(token, pubkey, name)
        except BunkerError as error:
            return _error(409, str(error))
        if not good:
            host.failed()
            return _error(403, "this link was used, is older than 30 minutes, or never was one")
        host.on_join(pubkey)
        return JSONResponse({"relays": list(host.relays)}, headers=headers)

    def _wrong_host(request: Request) -> Response | None:
        if request.headers.get("host", "").lower() == host.authority.lower():
            return None
        return PlainTextResponse(f"this page is at {host.origin}\n", 421, headers=headers)

    def _error(status: int, text: str) -> Response:
        return JSONResponse({"error": text}, status, headers=headers)

    return Starlette(
        routes=[
            Route("/join", join, methods=["POST"]),
            Route("/{path:path}", page, methods=["GET"]),
        ]
    )
