"""AsyncNSE: the enclave for an event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from bunker_core.event import EventTemplate
from bunker_core.keys import Buffer
from bunker_signer.nse.enclave import NSE
from bunker_signer.nse.memory import MemoryLevel
from bunker_signer.nse.model import KeyInfo, NostrEvent, SignedEvent
from bunker_signer.nse.wrap import Protector
from bunker_signer.nse.wrap.slots import SlotInfo

P = ParamSpec("P")
T = TypeVar("T")


class AsyncNSE:
    """An `NSE` whose work is done in one thread of its own, in order.

    Opening a key may take a second (Argon2id) or wait for a device, which must not stop the loop.
    The methods are the NSE's; closing it closes the NSE.
    """

    def __init__(self, nse: NSE) -> None:
        self._nse = nse
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nse")

    @property
    def name(self) -> str:
        return self._nse.name

    @property
    def memory_level(self) -> MemoryLevel:
        return self._nse.memory_level

    @property
    def locked(self) -> bool:
        return self._nse.locked

    async def exists(self) -> bool:
        return await self._do(self._nse.exists)

    async def get_public_key(self) -> str:
        return await self._do(self._nse.get_public_key)

    async def get_npub(self) -> str:
        return await self._do(self._nse.get_npub)

    async def info(self) -> KeyInfo:
        return await self._do(self._nse.info)

    async def slots(self) -> tuple[SlotInfo, ...]:
        return await self._do(self._nse.slots)

    async def generate(
        self,
        *,
        recovery: Protector | None = None,
        unrecoverable: bool = False,
        blob_version: int = 2,
    ) -> KeyInfo:
        return await self._do(
            self._nse.generate,
            recovery=recovery,
            unrecoverable=unrecoverable,
            blob_version=blob_version,
        )

    async def import_key(
        self,
        secret: Buffer,
        *,
        recovery: Protector | None = None,
        unrecoverable: bool = False,
        blob_version: int = 2,
    ) -> KeyInfo:
        return await self._do(
            self._nse.import_key,
            secret,
            recovery=recovery,
            unrecoverable=unrecoverable,
            blob_version=blob_version,
        )

    async def import_ncryptsec(
        self,
        ncryptsec: str,
        passphrase: str | Buffer,
        *,
        recovery: Protector | None = None,
        unrecoverable: bool = False,
    ) -> KeyInfo:
        return await self._do(
            self._nse.import_ncryptsec,
            ncryptsec,
            passphrase,
            recovery=recovery,
            unrecoverable=unrecoverable,
        )

    async def export_ncryptsec(self, passphrase: str | Buffer, *, log_n: int = 16) -> str:
        return await self._do(self._nse.export_ncryptsec, passphrase, log_n=log_n)

    async def export_secret(self, out: Buffer) -> None:
        await self._do(self._nse.export_secret, out)

    async def keep_open(self) -> None:
        await self._do(self._nse.keep_open)

    async def destroy(self) -> None:
        await self._do(self._nse.destroy)

    async def sign(self, event: NostrEvent | EventTemplate) -> SignedEvent:
        return await self._do(self._nse.sign, event)

    async def nip44_encrypt(self, peer_pubkey: str, plaintext: str) -> str:
        return await self._do(self._nse.nip44_encrypt, peer_pubkey, plaintext)

    async def nip44_decrypt(self, peer_pubkey: str, payload: str) -> str:
        return await self._do(self._nse.nip44_decrypt, peer_pubkey, payload)

    async def nip44v3_encrypt(
        self, peer_pubkey: str, plaintext: bytes, kind: int, scope: str
    ) -> str:
        return await self._do(self._nse.nip44v3_encrypt, peer_pubkey, plaintext, kind, scope)

    async def nip44v3_decrypt(self, peer_pubkey: str, payload: str, kind: int, scope: str) -> bytes:
        return await self._do(self._nse.nip44v3_decrypt, peer_pubkey, payload, kind, scope)

    async def nip04_encrypt(self, peer_pubkey: str, plaintext: str) -> str:
        return await self._do(self._nse.nip04_encrypt, peer_pubkey, plaintext)

    async def nip04_decrypt(self, peer_pubkey: str, payload: str) -> str:
        return await self._do(self._nse.nip04_decrypt, peer_pubkey, payload)

    async def conversation_key(self, peer_pubkey: str) -> bytes:
        return await self._do(self._nse.conversation_key, peer_pubkey)

    async def shared_x(self, peer_pubkey: str) -> bytes:
        return await self._do(self._nse.shared_x, peer_pubkey)

    async def unlock(self, protector: Protector) -> KeyInfo:
        return await self._do(self._nse.unlock, protector)

    async def lock(self) -> None:
        await self._do(self._nse.lock)

    async def add_slot(self, protector: Protector) -> SlotInfo:
        return await self._do(self._nse.add_slot, protector)

    async def remove_slot(self, slot_id: str, *, unrecoverable: bool = False) -> None:
        await self._do(self._nse.remove_slot, slot_id, unrecoverable=unrecoverable)

    async def rotate(self, *protectors: Protector) -> None:
        await self._do(self._nse.rotate, *protectors)

    async def rescue(self, protector: Protector) -> KeyInfo:
        return await self._do(self._nse.rescue, protector)

    async def migrate(self, *, recovery: Protector | None = None) -> KeyInfo:
        return await self._do(self._nse.migrate, recovery=recovery)

    async def close(self) -> None:
        """Wipe all secrets, after what was begun."""
        await self._do(self._nse.close)
        self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _do(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))
        except RuntimeError:  # closed: the NSE says so in its own words
            return call(*args, **kwargs)
        return await future
