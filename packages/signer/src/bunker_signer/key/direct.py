"""The sealed key as a `Signer` in the app's own process (pattern Direct): `nse:PATH`.

Registered as the entry point `nse` of the group `bunker.signers`, so that a client finds it
without knowing this package.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from bunker_core.errors import BunkerError
from bunker_core.event import EventTemplate, VerifiedEvent, parse_template
from bunker_core.local.home import expanded
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.signer import Signer
from bunker_signer.key.keystore import KEYS_DIRECTORY, KeyStore, key_storage
from bunker_signer.nse import NSE

MASTER_KEY_VARIABLE: Final = "BUNKER_MASTER_KEY_FILE"


class DirectSigner(Signer):
    """Signs with the key in `nse`. Asks nobody: whoever holds this object may use the key."""

    def __init__(self, nse: NSE) -> None:
        self._nse = nse

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._nse.close()

    # An operation takes a tenth of a millisecond, so it runs on the event loop itself.

    async def get_public_key(self) -> str:
        return self._nse.get_public_key()

    async def sign_event(self, event: EventTemplate | Mapping[str, Any]) -> VerifiedEvent:
        template = event if isinstance(event, EventTemplate) else parse_template(event)
        return VerifiedEvent(self._nse.sign(template))

    async def nip44_encrypt(self, peer: str, plaintext: str) -> str:
        return self._nse.nip44_encrypt(parse_pubkey(peer), plaintext)

    async def nip44_decrypt(self, peer: str, payload: str) -> str:
        return self._nse.nip44_decrypt(parse_pubkey(peer), payload)

    async def nip04_encrypt(self, peer: str, plaintext: str) -> str:
        return self._nse.nip04_encrypt(parse_pubkey(peer), plaintext)

    async def nip04_decrypt(self, peer: str, payload: str) -> str:
        return self._nse.nip04_decrypt(parse_pubkey(peer), payload)


def open_signer(path: str) -> DirectSigner:
    """Open the key in a signer's data directory, with the master key that the signer would use.

    Raises BunkerError; makes nothing that is not there.
    """
    data = expanded(path)
    if not (data / KEYS_DIRECTORY).is_dir():
        raise BunkerError(f"{data} holds no sealed key; make one with `bunker signer run`")
    given = os.environ.get(MASTER_KEY_VARIABLE)

    nse = NSE(storage=key_storage(data))
    try:
        KeyStore(data, Path(given) if given else None).unlock(nse, None)
    except BaseException:
        nse.close()
        raise
    return DirectSigner(nse)
