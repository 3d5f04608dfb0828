"""The documents that a client fetches over HTTP, with the client's own error."""

from typing import Final

from bunker_client.errors import ClientError
from bunker_core.errors import PoolError
from bunker_core.pool import document
from bunker_core.pool.document import Fetched

FETCH_TIMEOUT: Final = document.FETCH_TIMEOUT


async def fetch_json(
    url: str, *, accept: str = "application/json", timeout: float = FETCH_TIMEOUT
) -> Fetched:
    """As `bunker_core.pool.document.fetch_json`; raises ClientError."""
    try:
        return await document.fetch_json(url, accept=accept, timeout=timeout)
    except PoolError as error:
        raise ClientError(str(error)) from None
