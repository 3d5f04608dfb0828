"""nostr_sdk as a client, in a process of its own: what the scripts in node/ do, with rust-nostr.

    python nostr_sdk_client.py bunker BUNKER_URI
    python nostr_sdk_client.py nostrconnect RELAY_URL

Prints one line of JSON for each operation.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from nostr_sdk import (  # type: ignore[import-untyped]
    EventBuilder,
    Keys,
    Kind,
    Nip44Version,
    NostrConnect,
    NostrConnectUri,
    NostrSdkError,
    Tag,
    nip04_decrypt,
    nip04_encrypt,
    nip44_decrypt,
    nip44_encrypt,
)

PATIENCE = timedelta(seconds=15)
CONTENT = 'Signed from desktop, key on phone!\n"äöü" 🦊'
TEXTS = ("a", "für dich 🦊")
LONG_TEXT = "x" * 66_000


def tell(**line: object) -> None:
    print(json.dumps(line), flush=True)


def demand(condition: object, reason: str) -> None:
    if not condition:
        raise AssertionError(reason)


async def attempt(operation: str, action: Callable[[], Awaitable[Any]]) -> Any:
    """Run one operation and tell how it went; return its value, or None."""
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            value = await action()
    except Exception as error:  # noqa: BLE001 -- whatever it is, it belongs in the matrix
        tell(operation=operation, outcome=f"failed: {error!r}")
        return None
    tell(operation=operation, outcome="ok")
    return value


async def main(flow: str, address: str) -> None:
    key = Keys.generate()
    if flow == "nostrconnect":
        metadata = quote(json.dumps({"name": "nostr_sdk", "url": "https://example.com"}))
        address = (
            f"nostrconnect://{key.public_key().to_hex()}?relay={quote(address, safe='')}"
            f"&metadata={metadata}&secret=interop-secret"
        )
    client = NostrConnect(NostrConnectUri.parse(address), key, PATIENCE, None)
    # The library connects with its first request, so the URI can't be shown any later.
    if flow == "nostrconnect":
        tell(uri=address)
    user = await attempt("connect", client.get_public_key_async)
    if user is None:
        return
    tell(operation="get_public_key", outcome="ok")
    tell(user=user.to_hex())
    for operation in ("ping", "switch_relays", "unknown method", "logout", "after logout"):
        tell(operation=operation, outcome="not offered")

    async def sign() -> None:
        tags = [Tag.parse(["t", "interop"])]
        unsigned = EventBuilder(Kind(1), CONTENT).tags(tags).finalize_unsigned(user)
        event = await client.sign_event_async(unsigned)
        demand(event is not None and event.verify(), "signature does not verify")
        tell(signed=json.loads(event.as_json()))

    async def sign_forbidden() -> None:
        unsigned = EventBuilder(Kind(7), "+").finalize_unsigned(user)
        try:
            await client.sign_event_async(unsigned)
        except NostrSdkError as error:
            demand("denied" in str(error), f"refused with {error}")
        else:
            raise AssertionError("signed what was not granted")

    await attempt("sign_event", sign)
    await attempt("denied", sign_forbidden)
    other = Keys.generate()
    secret, pubkey = other.secret_key(), other.public_key()

    async def encrypt44() -> None:
        for text in TEXTS:
            payload = await client.nip44_encrypt_async(pubkey, text)
            demand(nip44_decrypt(secret, user, payload) == text, "another text")

    async def decrypt44() -> None:
        for text in TEXTS:
            payload = nip44_encrypt(secret, user, text, Nip44Version.V2)
            demand(await client.nip44_decrypt_async(pubkey, payload) == text, "another text")

    async def encrypt04() -> None:
        for text in TEXTS:
            payload = await client.nip04_encrypt_async(pubkey, text)
            demand(nip04_decrypt(secret, user, payload) == text, "another text")

    async def decrypt04() -> None:
        for text in TEXTS:
            payload = nip04_encrypt(secret, user, text)
            demand(await client.nip04_decrypt_async(pubkey, payload) == text, "another text")

    async def long_text() -> None:
        payload = await client.nip44_encrypt_async(pubkey, LONG_TEXT)
        demand(nip44_decrypt(secret, user, payload) == LONG_TEXT, "another text")

    try:
        nip44_encrypt(secret, user, LONG_TEXT, Nip44Version.V2)
    except NostrSdkError:
        tell(operation="nip44 66 kB", outcome="not offered")  # older than the extended prefix
    else:
        await attempt("nip44 66 kB", long_text)
    await attempt("nip44_encrypt", encrypt44)
    await attempt("nip44_decrypt", decrypt44)
    await attempt("nip04_encrypt", encrypt04)
    await attempt("nip04_decrypt", decrypt04)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
