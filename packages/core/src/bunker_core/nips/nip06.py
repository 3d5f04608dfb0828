"""NIP-06: a private key from seed words (BIP-39), by the path m/44'/1237'/account'/0/0 (BIP-32).

NIP-06 is not recommended for new keys; whoever has such words gets their key out of them. The words
may be in any language of BIP-39; a passphrase beside the words (BIP-39) is not known to NIP-06.
"""

import hmac
import unicodedata
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from bunker_core.errors import InvalidEntity, InvalidKey
from bunker_core.keys import SECRET_BYTES, Buffer, add_to_secret, compressed_pubkey, wipe

WORD_COUNTS: Final = (12, 15, 18, 21, 24)
MAX_ACCOUNT: Final = 2**31 - 1

_HARDENED: Final = 2**31
_ROUNDS: Final = 2048  # of BIP-39
_ENGLISH: Final = "english"


def secret_from_words(words: str, out: Buffer, account: int = 0) -> None:
    """Write the private key of `words` into the 32-byte `out`.

    Raises InvalidEntity, which names a wrong word by its place and repeats none.
    """
    if not 0 <= account <= MAX_ACCOUNT:
        raise InvalidEntity(f"an account is a number from 0 to {MAX_ACCOUNT}")
    listed = unicodedata.normalize("NFKD", words).lower().split()
    _check(listed)
    node, material = bytearray(64), bytearray(" ".join(listed).encode())
    try:
        PBKDF2HMAC(SHA512(), 64, b"mnemonic", _ROUNDS).derive_into(material, node)
        node[:] = hmac.digest(b"Bitcoin seed", node, "sha512")
        for index in (44 + _HARDENED, 1237 + _HARDENED, account + _HARDENED, 0, 0):
            _descend(node, index)
        out[:] = memoryview(node)[:SECRET_BYTES]
    except InvalidKey:  # once in 2**127
        raise InvalidEntity("these words have no key at this account: take the next") from None
    finally:
        wipe(node)
        wipe(material)


def _descend(node: bytearray, index: int) -> None:
    """Replace a private key and its chain code (32 bytes each) by those of its child (BIP-32)."""
    secret, chain = memoryview(node)[:SECRET_BYTES], memoryview(node)[SECRET_BYTES:]
    told = bytearray(37)  # what the child is made of: the key, or its public half, and the index
    told[33:] = index.to_bytes(4, "big")
    if index >= _HARDENED:
        told[1:33] = secret
    else:
        told[:33] = compressed_pubkey(secret)
    made = bytearray(64)
    try:
        made[:] = hmac.digest(chain, told, "sha512")
        add_to_secret(secret, memoryview(made)[:SECRET_BYTES])
        chain[:] = memoryview(made)[SECRET_BYTES:]
    finally:
        wipe(told)
        wipe(made)


def _check(words: Sequence[str]) -> None:
    """Raise InvalidEntity unless these are BIP-39 words whose checksum is right."""
    from mnemonic import Mnemonic  # 2048 words a language: read by those alone who have some

    if len(words) not in WORD_COUNTS:
        counts = ", ".join(map(str, WORD_COUNTS))
        raise InvalidEntity(f"seed words are {counts} in number, not {len(words)}")
    text = " ".join(words)
    english = Mnemonic(_ENGLISH)
    if english.check(text):
        return
    others = (name for name in Mnemonic.list_languages() if name != _ENGLISH)
    if any(Mnemonic(name).check(text) for name in others):
        return
    known = frozenset(english.wordlist)
    unknown = [str(place) for place, word in enumerate(words, 1) if word not in known]
    if len(unknown) == len(words):
        raise InvalidEntity("these are no seed words: none of them is in BIP-39's English list")
    if unknown:
        raise InvalidEntity(
            f"seed words: of {len(words)}, number {', '.join(unknown)} "
            f"{'is' if len(unknown) == 1 else 'are'} not in BIP-39's English list"
        )
    raise InvalidEntity("seed words: their checksum is wrong: one is another, or in another place")
