"""Manage a relay as its admin: NIP-86 over NIP-98."""

import base64
import json
import time
from hashlib import sha256
from typing import Any

import httpx

from bunker_core.keys import SecretKey
from support.wire import RelayProcess, note

ADMIN = SecretKey.generate()
RPC = "application/nostr+json+rpc"


def authorization(body: bytes, url: str, key: SecretKey = ADMIN, **changes: Any) -> str:
    """Return what an HTTP request to `url` with `body` is authorized by (NIP-98)."""
    tags = {"u": url, "method": "POST", "payload": sha256(body).hexdigest()}
    tags |= changes.pop("tags", {})
    fields: dict[str, Any] = {"kind": 27235, "created_at": int(time.time())} | changes
    event = note(key, tags=tuple(item for item in tags.items() if item[1]), **fields)
    return "Nostr " + base64.b64encode(event.to_json()).decode()


def call(
    relay: RelayProcess, method: str, *params: Any, key: SecretKey = ADMIN, url: str = ""
) -> Any:
    """Call as the admin and return the result."""
    # The time makes every call another event: an authorization counts once.
    body = json.dumps({"method": method, "params": params, "at": time.time_ns()}).encode()
    headers = {"Content-Type": RPC}
    headers["Authorization"] = authorization(body, url or relay.http_url, key)
    reply = httpx.post(relay.http_url, content=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()["result"]
