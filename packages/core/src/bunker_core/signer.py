"""What an app asks a signer for, whoever that is: a sealed key in this process or a remote signer.

`Signer` is asyncio, `SyncSigner` the same names without it. An app that is written against one of
them runs unchanged with the key beside it and with the key on a phone. What a method does is said
here; the classes that derive from the two say what is more.
"""

from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

from bunker_core.event import EventTemplate, VerifiedEvent


@runtime_checkable
class Signer(Protocol):
    """Signs, encrypts and decrypts for one user. An async context manager: entering connects.

    Pubkeys are 64 lower-case hex characters. Every failure is a BunkerError.
    """

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    async def get_public_key(self) -> str:
        """Return the user's pubkey, which signs."""
        ...

    async def sign_event(self, event: EventTemplate | Mapping[str, Any]) -> VerifiedEvent:
        """Return `event` signed by the user, with id and signature checked.

        A mapping needs `kind`; `content`, `tags` and `created_at` have defaults.
        """
        ...

    async def nip44_encrypt(self, peer: str, plaintext: str) -> str:
        """Return `plaintext` encrypted by the user to `peer` (NIP-44)."""
        ...

    async def nip44_decrypt(self, peer: str, payload: str) -> str:
        """Return the plaintext of what `peer` and the user exchanged (NIP-44)."""
        ...

    async def nip04_encrypt(self, peer: str, plaintext: str) -> str:
        """Return `plaintext` encrypted by the user to `peer` (NIP-04, deprecated)."""
        ...

    async def nip04_decrypt(self, peer: str, payload: str) -> str:
        """Return the plaintext of what `peer` and the user exchanged (NIP-04, deprecated)."""
        ...


@runtime_checkable
class SyncSigner(Protocol):
    """As `Signer`, for programs without asyncio."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def get_public_key(self) -> str: ...
    def sign_event(self, event: EventTemplate | Mapping[str, Any]) -> VerifiedEvent: ...
    def nip44_encrypt(self, peer: str, plaintext: str) -> str: ...
    def nip44_decrypt(self, peer: str, payload: str) -> str: ...
    def nip04_encrypt(self, peer: str, plaintext: str) -> str: ...
    def nip04_decrypt(self, peer: str, payload: str) -> str: ...


for _name in vars(SyncSigner):
    if not _name.startswith("_"):
        getattr(SyncSigner, _name).__doc__ = getattr(Signer, _name).__doc__
