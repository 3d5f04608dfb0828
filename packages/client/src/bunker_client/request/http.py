"""The two documents that are fetched over HTTP: NIP-05's nostr.json and NIP-11's relay document."""

import asyncio
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bunker_client.errors import ClientError

FETCH_TIMEOUT: Final = 10.0  # seconds
MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Fetched:
    """A JSON document and the Date of its server."""

    value: Any
    date: str | None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """NIP-05: fetchers MUST ignore any HTTP redirects."""

    def redirect_request(self, *_: object) -> None:
        return None


async def fetch_json(
    url: str, *, accept: str = "application/json", timeout: float = FETCH_TIMEOUT
) -> Fetched:
    """Return the document at an http:// or https:// `url`; raises ClientError."""
    if not url.startswith(("http://", "https://")):
        raise ClientError(f"{url}: not a web address")
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.to_thread(_fetch, url, accept, timeout)
    except TimeoutError:
        raise ClientError(f"{url}: no answer within {timeout:g} s") from None
    except urllib.error.HTTPError as error:
        error.close()
        raise ClientError(f"{url}: HTTP status {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ClientError(f"{url}: {reason}") from None
    except orjson.JSONDecodeError:
        raise ClientError(f"{url}: not JSON") from None


def _fetch(url: str, accept: str, timeout: float) -> Fetched:
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 -- http(s) only
    # No proxy of the environment: as with relays, an address is not handed to a third party.
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout) as response:
        data = response.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise OSError("the document is too large")
        return Fetched(orjson.loads(data), response.headers.get("Date"))
