"""Slot type `keyring`: the desktop's Secret Service (GNOME Keyring, KeePassXC, KWallet).

The wrapping key is an item of the user's default collection, which their login unlocks. It leaves
the service over D-Bus, encrypted for this session, so this is no hardware protection.
"""

# mypy: disable-error-code="import-untyped,import-not-found"
# The library is an extra, and ships no types; what it returns is checked or wiped here.

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from bunker_signer.nse.blob import Params
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import fill_random, wipe_bytes
from bunker_signer.nse.wrap import Ask, missing_library
from bunker_signer.nse.wrap.params import expect, hex_bytes, no_more_options

_APPLICATION: Final = "nostr-bunker"
_ITEM_BYTES: Final = 16
_KEY_BYTES: Final = 32


class Keyring:
    """The Secret Service of this login session."""

    type: Final = "keyring"
    hardware: Final = False
    device_bound: Final = True  # whoever loses the keyring's file loses the slot

    def create(self, pubkey: str, key: memoryview) -> Params:
        item = secrets.token_hex(_ITEM_BYTES)
        fill_random(key)
        secret = bytes(key)
        try:
            with _collection() as collection:
                collection.create_item(f"Nostr key {pubkey[:8]}", _attributes(pubkey, item), secret)
        finally:
            wipe_bytes(secret)
        return {"item": item}

    def recover(self, pubkey: str, params: Params, key: memoryview) -> None:
        expect(params, "item")
        item = hex_bytes(params, "item", size=_ITEM_BYTES).hex()
        with _collection() as collection:
            found = next(iter(collection.search_items(_attributes(pubkey, item))), None)
            if found is None:
                raise NSEError(
                    "the keyring has no item for this slot", NSEErrorCode.HARDWARE_UNAVAILABLE
                )
            secret: bytes = found.get_secret()
        try:
            if len(secret) != _KEY_BYTES:
                raise NSEError(
                    "the keyring's item for this slot was changed", NSEErrorCode.AUTH_FAILED
                )
            key[:] = secret
        finally:
            wipe_bytes(secret)


def from_options(options: Mapping[str, str], ask: Ask) -> Keyring:  # noqa: ARG001 -- no secret
    """Make the protector; it has no options."""
    no_more_options(options)
    return Keyring()


def _attributes(pubkey: str, item: str) -> dict[str, str]:
    return {"application": _APPLICATION, "pubkey": pubkey, "item": item}


@contextmanager
def _collection() -> Iterator[Any]:
    """Have the unlocked default collection; an unlocking dialog may come up for the user."""
    try:
        import secretstorage
        from secretstorage.exceptions import SecretStorageException
    except ImportError:
        raise missing_library("secretstorage", "keyring") from None
    try:
        connection = secretstorage.dbus_init()
    except (SecretStorageException, OSError) as error:
        raise _unavailable(error) from None
    try:
        collection = secretstorage.get_default_collection(connection)
        if collection.is_locked() and collection.unlock():
            raise NSEError("unlocking the keyring was refused", NSEErrorCode.AUTH_FAILED)
        yield collection
    except SecretStorageException as error:
        raise _unavailable(error) from None
    finally:
        connection.close()


def _unavailable(error: Exception) -> NSEError:
    detail = (str(error) or type(error).__name__).splitlines()[0]
    return NSEError(
        f"no keyring can be reached (Secret Service over D-Bus): {detail}",
        NSEErrorCode.HARDWARE_UNAVAILABLE,
    )
