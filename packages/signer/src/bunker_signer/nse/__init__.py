"""NSE, Nostr Secure Enclave: a key that lies sealed and is opened for one operation at a time.

    from bunker_signer.nse import NSE, FileStorage, NostrEvent

    with NSE(master_key=master_key, storage=FileStorage("keys")) as nse:
        if not nse.exists():
            nse.generate()
        signed = nse.sign(NostrEvent(kind=1, content="hello", created_at=1700000000))

The import needs `cryptography`, `coincurve`, `orjson` and `bunker_core`, nothing of the agent.
"""

from bunker_signer.nse.enclave import NSE
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import MemoryLevel, harden_process
from bunker_signer.nse.model import KeyInfo, NostrEvent, SignedEvent
from bunker_signer.nse.storage import FileStorage, MemoryStorage, NSEStorage

__all__ = [
    "NSE",
    "FileStorage",
    "KeyInfo",
    "MemoryLevel",
    "MemoryStorage",
    "NSEError",
    "NSEErrorCode",
    "NSEStorage",
    "NostrEvent",
    "SignedEvent",
    "harden_process",
]
