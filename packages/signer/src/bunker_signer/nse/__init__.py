"""NSE, Nostr Secure Enclave: a key that lies sealed and is opened for one operation at a time.

    from bunker_signer.nse import NSE, FileStorage, NostrEvent

    with NSE(master_key=master_key, storage=FileStorage("keys")) as nse:
        if not nse.exists():
            nse.generate()
        signed = nse.sign(NostrEvent(kind=1, content="hello", created_at=1700000000))

The import needs `cryptography`, libsecp256k1, `orjson` and `bunker_core`, nothing of the agent.
`AsyncNSE` is imported when it is asked for: a program without an event loop needs no asyncio.
"""

from typing import TYPE_CHECKING, Any

from bunker_signer.nse.enclave import NSE
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import MemoryLevel, harden_process
from bunker_signer.nse.model import KeyInfo, NostrEvent, SignedEvent, key_names
from bunker_signer.nse.storage import FileStorage, MemoryStorage, NSEStorage

if TYPE_CHECKING:
    from bunker_signer.nse.aio import AsyncNSE

__all__ = [
    "NSE",
    "AsyncNSE",
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
    "key_names",
]


def __getattr__(name: str) -> Any:
    if name == "AsyncNSE":
        from bunker_signer.nse.aio import AsyncNSE

        return AsyncNSE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
