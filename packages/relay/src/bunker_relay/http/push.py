"""`/push`: a signer that sleeps in a browser says where it is woken, authorized by NIP-98.

    GET /push        our key for `pushManager.subscribe`, and how it stands with this signer
    POST /push       {"endpoint", "keys": {"p256dh", "auth"}}: wake this browser from now on
    DELETE /push     wake no browser of this signer any more
    POST /push/test  wake them now, to see that it works

Only the configuration's `signers` may: by the key that carries their traffic. What wakes them is
loaded by a relay that does, see `Relay`: its cryptography takes four megabytes of memory.
"""

import time
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bunker_core.bounds.rate import TokenBucket
from bunker_core.local.body import BodyRefused, read_body
from bunker_core.nips.nip98 import InvalidAuthorization, check_authorization
from bunker_relay.relay import Relay

if TYPE_CHECKING:
    from bunker_relay.push.waker import Waker

_MAX_BODY: Final = 8192  # bytes
_BODY_TIMEOUT: Final = 10.0  # seconds
# Calls that are looked at, whoever makes them: each costs a signature to check.
_RATE: Final = (5.0, 50.0)  # a second, at once
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Max-Age": "600",
    "Cache-Control": "no-store",
}


class Push:
    """Answers signers."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._rate = TokenBucket(*_RATE)

    async def answer(self, request: Request) -> Response:
        """Answer one call."""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_CORS)
        waker = self._relay.waker
        if waker is None:
            return _error(404, "this relay wakes nobody: its configuration has no push.enabled")
        if not self._rate.take(time.monotonic()):
            self._relay.counters.requests_refused += 1
            return _error(429, "too many calls, wait a moment")
        try:
            body = await read_body(request.stream(), _MAX_BODY, _BODY_TIMEOUT)
        except BodyRefused as error:
            return _error(error.status, str(error))
        try:
            signer = self._authorize(request, body)
        except InvalidAuthorization as error:
            return _error(401, str(error))
        from bunker_relay.push.subscriptions import InvalidSubscription

        try:
            return self._do(waker, request, signer, body)
        except InvalidSubscription as error:
            return _error(400, str(error))
        except OSError as error:
            return _error(500, f"the subscriptions can't be written: {error.strerror}")

    def _do(self, waker: "Waker", request: Request, signer: str, body: bytes) -> Response:
        from bunker_core.nips import webpush
        from bunker_relay.push.subscriptions import InvalidSubscription, parse_subscription

        now = int(time.time())
        if request.url.path.endswith("/test"):
            if request.method != "POST":
                return _error(405, "a test is a POST")
            if not waker.test(signer):
                return _error(429, "no browser to wake, or too many pushes lately")
            return JSONResponse({"pushed": True}, headers=_CORS)
        if request.method == "POST":
            try:
                value: Any = orjson.loads(body)
            except orjson.JSONDecodeError:
                raise InvalidSubscription("not a push subscription") from None
            private = waker.settings.private_endpoints
            waker.subscriptions.add(signer, parse_subscription(value, now, private=private))
        elif request.method == "DELETE":
            waker.subscriptions.remove(signer)
        found = waker.subscriptions.of(signer)
        latest = max(found, key=lambda item: item.pushed_at or 0, default=None)
        return JSONResponse(
            {
                "key": webpush.encode(webpush.public_bytes(waker.subscriptions.key)),
                "subscribed": bool(found),
                "browsers": len(found),
                "pushed_at": latest.pushed_at if latest else None,
                "outcome": latest.outcome if latest else "",
            },
            headers=_CORS,
        )

    def _authorize(self, request: Request, body: bytes) -> str:
        now = time.time()
        path = request.url.path
        roots = self._relay.admission.urls_for({**request.scope, "path": "/"})
        urls = frozenset(f"{url.rstrip('/')}{path}" for url in roots)
        pubkey, event_id = check_authorization(
            request.headers.get("authorization", ""),
            relay_urls=urls,
            method=request.method,
            body=body,
            now=int(now),
        )
        if pubkey not in self._relay.policy.signers:
            raise InvalidAuthorization("not the key of one of this relay's signers")
        if not self._relay.authorizations.use(event_id, now):
            raise InvalidAuthorization("authorization was used before")
        return pubkey


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status, headers=_CORS)
