"""Administration from afar: NIP-86 calls, authorized by NIP-98 with the admin's key.

Off unless the configuration names an admin. On the machine `bunker relay ban` and the like do it.
"""

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bunker_core.event import is_hex
from bunker_core.kinds import MAX_KIND
from bunker_core.local.body import BodyRefused, read_body
from bunker_core.nips.nip98 import InvalidAuthorization, check_authorization
from bunker_relay.event.lists import ListsError, Protected, address
from bunker_relay.store.outcome import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bunker_relay.relay import Relay

CONTENT_TYPE: Final = "application/nostr+json+rpc"
_MAX_BODY: Final = 65_536  # bytes
_STATS: Final = "stats"
_BODY_TIMEOUT: Final = 10.0  # seconds


class InvalidCall(Exception):
    """A method that is not there or parameters that do not fit."""


class Admin:
    """Answers the admin's calls."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._one_at_a_time = asyncio.Lock()  # one change of the lists at a time
        self._moderation = relay.moderation
        self._methods: dict[str, Callable[[list[Any]], Any]] = {
            "supportedmethods": lambda _: sorted([*self._methods, _STATS]),
            "banpubkey": self._ban_pubkey,
            "unbanpubkey": self._unban_pubkey,
            "listbannedpubkeys": lambda _: _listed(relay.lists.banned_pubkeys),
            "allowpubkey": self._allow_pubkey,
            "unallowpubkey": self._unallow_pubkey,
            "listallowedpubkeys": lambda _: _listed(relay.lists.allowed_pubkeys),
            "banevent": self._ban_event,
            "allowevent": self._allow_event,
            "listbannedevents": lambda _: _listed(relay.lists.banned_events, "id"),
            "blockip": self._block_ip,
            "unblockip": self._unblock_ip,
            "listblockedips": lambda _: _listed(relay.lists.blocked_ips, "ip"),
            "allowkind": self._allow_kind,
            "disallowkind": self._disallow_kind,
            "listallowedkinds": lambda _: sorted(relay.lists.allowed_kinds),
            "listdisallowedkinds": lambda _: sorted(relay.lists.disallowed_kinds),
        }

    async def answer(self, request: Request) -> Response:
        """Answer one POST."""
        if self._relay.config.admin is None:
            return _error(405, "NIP-86 is off on this relay: its configuration names no admin")
        try:
            body = await read_body(request.stream(), _MAX_BODY, _BODY_TIMEOUT)
        except BodyRefused as error:
            return _error(error.status, str(error))
        now = time.time()
        try:
            await self._authorize(request, body, now)
        except InvalidAuthorization as error:
            return _error(401, str(error))
        try:
            call = orjson.loads(body)
            if call["method"] == _STATS:
                return JSONResponse({"result": await self._stats()})
            method = self._methods[call["method"]]
            params = call.get("params", [])
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return _error(400, "unknown method; supportedmethods lists those that are there")
        if not isinstance(params, list):
            return _error(400, "params is not a list")
        try:
            # In a thread, all of them: some wait for the disk, or for the database's lock.
            async with self._one_at_a_time:
                result = await asyncio.to_thread(method, params)
        except InvalidCall as error:
            return _error(400, str(error))
        except OSError as error:
            return _error(500, f"the lists can't be written: {error.strerror}")
        except Protected as error:
            return _error(403, str(error))
        except (ListsError, StoreError) as error:
            return _error(500, str(error))
        if result is True:
            self._relay.hang_up_on_blocked()
            await self._relay.share({"lists": True})
        return JSONResponse({"result": result})

    async def _stats(self) -> dict[str, float]:
        """Return counters and gauges, of all workers together."""
        total: Counter[str] = Counter()
        for figures in (await self._relay.figures()).values():
            total.update(figures)
        return dict(total)

    async def _authorize(self, request: Request, body: bytes, now: float) -> None:
        relay = self._relay
        pubkey, event_id = check_authorization(
            request.headers.get("authorization", ""),
            relay_urls=relay.admission.urls_for(request.scope),
            method=request.method,
            body=body,
            now=int(now),
        )
        if relay.config.admin is None or pubkey != relay.config.admin:
            raise InvalidAuthorization("not the admin's key")
        elsewhere = await relay.share({"authorization": event_id})
        used = not relay.authorizations.use(event_id, now)
        if used or any(answer.get("used") for answer in elsewhere):
            raise InvalidAuthorization("authorization was used before")

    def _ban_pubkey(self, params: list[Any]) -> bool:
        self._moderation.ban_pubkey(*_pubkey(params))
        return True

    def _unban_pubkey(self, params: list[Any]) -> bool:
        self._moderation.unban_pubkey(_pubkey(params)[0])
        return True

    def _allow_pubkey(self, params: list[Any]) -> bool:
        pubkey, reason = _pubkey(params)
        with self._relay.lists.change():
            self._relay.lists.allowed_pubkeys[pubkey] = reason
        return True

    def _unallow_pubkey(self, params: list[Any]) -> bool:
        with self._relay.lists.change():
            self._relay.lists.allowed_pubkeys.pop(_pubkey(params)[0], None)
        return True

    def _ban_event(self, params: list[Any]) -> bool:
        self._moderation.ban_event(*_hex_and_reason(params, "an event id"))
        return True

    def _allow_event(self, params: list[Any]) -> bool:
        event_id, _ = _hex_and_reason(params, "an event id")
        with self._relay.lists.change():
            self._relay.lists.banned_events.pop(event_id, None)
        return True

    def _block_ip(self, params: list[Any]) -> bool:
        network = _network(params)
        with self._relay.lists.change():
            self._relay.lists.block_ip(network, _reason(params))
        return True

    def _unblock_ip(self, params: list[Any]) -> bool:
        network = _network(params)
        with self._relay.lists.change():
            self._relay.lists.unblock_ip(network)
        return True

    def _allow_kind(self, params: list[Any]) -> bool:
        with self._relay.lists.change():
            self._relay.lists.allow_kind(_kind(params))
        return True

    def _disallow_kind(self, params: list[Any]) -> bool:
        with self._relay.lists.change():
            self._relay.lists.disallow_kind(_kind(params))
        return True


def _pubkey(params: list[Any]) -> tuple[str, str]:
    return _hex_and_reason(params, "a pubkey")


def _hex_and_reason(params: list[Any], what: str) -> tuple[str, str]:
    if not params or not is_hex(params[0], 64):
        raise InvalidCall(f"the first parameter is not {what} of 64 lower-case hex characters")
    return params[0], _reason(params)


def _reason(params: list[Any]) -> str:
    reason = params[1] if len(params) > 1 else ""
    if not isinstance(reason, str):
        raise InvalidCall("the second parameter, the reason, is not a text")
    return reason


def _network(params: list[Any]) -> str:
    try:
        if params and isinstance(params[0], str):
            return address(params[0])
    except ValueError:
        pass
    raise InvalidCall("the first parameter is not an IP address or network")


def _kind(params: list[Any]) -> int:
    if not params or type(params[0]) is not int or not 0 <= params[0] <= MAX_KIND:
        raise InvalidCall(f"the first parameter is not a kind from 0 to {MAX_KIND}")
    return params[0]


def _listed(reasons: dict[str, str], name: str = "pubkey") -> list[dict[str, str]]:
    return [{name: key, "reason": reason} for key, reason in reasons.items()]


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)
