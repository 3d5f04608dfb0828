"""Many decryptions at once, not too many at a time: opening an inbox asks for hundreds."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from bunker_core.errors import BunkerError
from bunker_core.signer import Signer

CONCURRENCY: Final = 8  # requests at a time: a phone signer does them one after the other anyway


async def decrypt_all(
    signer: Signer,
    messages: Iterable[tuple[str, str]],
    *,
    concurrency: int = CONCURRENCY,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str | BunkerError]:
    """Decrypt `messages`, pairs of peer and NIP-44 payload, and return the plaintexts in order.

    In the place of a message that failed stands its error: one that can't be decrypted does not
    keep the others. `on_progress` is called with how many are done, and of how many; that is what
    a progress bar wants.
    """
    items = list(messages)
    at_once = asyncio.Semaphore(concurrency)
    done = 0

    async def decrypt(peer: str, payload: str) -> str | BunkerError:
        nonlocal done
        async with at_once:
            try:
                result: str | BunkerError = await signer.nip44_decrypt(peer, payload)
            except BunkerError as error:
                result = error
        done += 1
        if on_progress:
            on_progress(done, len(items))
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(decrypt(peer, payload)) for peer, payload in items]
    return [task.result() for task in tasks]
