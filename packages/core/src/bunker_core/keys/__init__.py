"""secp256k1 (BIP-340) over buffers that the caller owns: the only file that touches libsecp256k1.

Secret bytes are borrowed as writable buffers and never copied into a `bytes`, `str` or `int`, so
that the caller can wipe them. A pubkey is 64 lower-case hex characters, x-only.
"""

import ctypes
import os
from functools import lru_cache
from typing import Any, Final

from bunker_core.errors import CryptoError, InvalidKey
from bunker_core.keys.libsecp256k1 import CONTEXT as _CTX
from bunker_core.keys.libsecp256k1 import ffi, lib

SECRET_BYTES: Final = 32
KEYPAIR_BYTES: Final = 96  # sizeof(secp256k1_keypair): an opaque byte array, any alignment will do
SIGNATURE_BYTES: Final = 64

# Looked up once: a relay calls it for every event.
_schnorrsig_verify: Final = lib.secp256k1_schnorrsig_verify
# The longest run of pubkeys that a busy relay sees again and again; an entry is about 200 bytes.
_PARSED_PUBKEYS: Final = 8192

_HEX: Final = frozenset("0123456789abcdef")

Buffer = bytearray | memoryview


def wipe(buffer: Buffer) -> None:
    """Overwrite `buffer` with zeros, in place."""
    view = memoryview(buffer).cast("B")
    ffi.memmove(ffi.from_buffer(view), bytes(len(view)), len(view))


def fill_random_secret(secret: Buffer) -> None:
    """Fill the 32-byte `secret` with a valid private key from the system's random source.

    The bytes go straight into the buffer: `os.urandom` would leave an immutable copy behind.
    """
    view = memoryview(secret).cast("B")
    with open("/dev/urandom", "rb", buffering=0) as source:  # noqa: PTH123 -- readinto, unbuffered
        while True:
            if source.readinto(view) != SECRET_BYTES:
                raise OSError("short read from /dev/urandom")
            if lib.secp256k1_ec_seckey_verify(_CTX, ffi.from_buffer(view)):
                return  # all but about one in 2**128 draws


def load_keypair(secret: Buffer, keypair: Buffer) -> None:
    """Write the 96-byte keypair of the 32-byte `secret` into `keypair`.

    Raises InvalidKey when the secret is zero or not below the curve's order.
    """
    _check_size(secret, SECRET_BYTES)
    _check_size(keypair, KEYPAIR_BYTES)
    pointer = ffi.cast("secp256k1_keypair *", ffi.from_buffer(keypair))
    if not lib.secp256k1_keypair_create(_CTX, pointer, ffi.from_buffer(secret)):
        raise InvalidKey("private key is out of range")


def keypair_pubkey(keypair: Buffer) -> str:
    """Return the pubkey of a keypair that `load_keypair` wrote; raises InvalidKey if wiped."""
    _check_keypair(keypair)
    pointer = ffi.cast("secp256k1_keypair *", ffi.from_buffer(keypair))
    xonly = ffi.new("secp256k1_xonly_pubkey *")
    out = bytearray(32)
    if not lib.secp256k1_keypair_xonly_pub(_CTX, xonly, ffi.NULL, pointer):
        raise InvalidKey("private key is out of range")
    lib.secp256k1_xonly_pubkey_serialize(_CTX, ffi.from_buffer(out), xonly)
    return out.hex()


def compressed_pubkey(secret: Buffer) -> bytes:
    """Return the 33-byte public key of `secret` with its parity (BIP-32); raises InvalidKey."""
    keypair = bytearray(KEYPAIR_BYTES)
    load_keypair(secret, keypair)
    try:
        pointer = ffi.cast("secp256k1_keypair *", ffi.from_buffer(keypair))
        xonly, odd, out = ffi.new("secp256k1_xonly_pubkey *"), ffi.new("int *"), bytearray(32)
        lib.secp256k1_keypair_xonly_pub(_CTX, xonly, odd, pointer)
        lib.secp256k1_xonly_pubkey_serialize(_CTX, ffi.from_buffer(out), xonly)
        return bytes([2 + odd[0]]) + out
    finally:
        wipe(keypair)


def add_to_secret(secret: Buffer, tweak: Buffer) -> None:
    """Add the 32-byte `tweak` to `secret` in place, modulo the curve's order (BIP-32).

    Raises InvalidKey when the tweak is not below the order, or the sum is zero.
    """
    _check_size(secret, SECRET_BYTES)
    _check_size(tweak, SECRET_BYTES)
    if not lib.secp256k1_ec_seckey_tweak_add(_CTX, ffi.from_buffer(secret), ffi.from_buffer(tweak)):
        raise InvalidKey("private key is out of range")


def sign(keypair: Buffer, message: bytes, aux: bytes | None = None) -> bytes:
    """Return the 64-byte BIP-340 signature of `message`.

    `message` is 32 bytes in all of Nostr; other lengths are for BIP-340's own vectors. `aux` is
    32 bytes of auxiliary randomness, fresh from the system unless given. Raises InvalidKey for a
    wiped keypair.
    """
    _check_keypair(keypair)
    pointer = ffi.cast("secp256k1_keypair *", ffi.from_buffer(keypair))
    signature = ffi.new("unsigned char[64]")
    entropy = os.urandom(32) if aux is None else aux
    _check_size(entropy, 32)
    if len(message) == 32:
        ok = lib.secp256k1_schnorrsig_sign32(_CTX, signature, message, pointer, entropy)
    else:
        extra = ffi.new("secp256k1_schnorrsig_extraparams *")
        extra.magic = b"\xda\x6f\xb3\x8c"  # SECP256K1_SCHNORRSIG_EXTRAPARAMS_MAGIC
        ndata = ffi.from_buffer(entropy)
        extra.ndata = ndata
        ok = lib.secp256k1_schnorrsig_sign_custom(
            _CTX, signature, message, len(message), pointer, extra
        )
    if not ok:
        raise CryptoError
    return bytes(ffi.buffer(signature))


def verify(pubkey: str, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` (64 bytes) is `pubkey`'s BIP-340 signature of `message`."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        xonly = _parse_xonly(pubkey)
    except InvalidKey:
        return False
    return bool(_schnorrsig_verify(_CTX, signature, message, len(message), xonly))


def shared_x(secret: Buffer, pubkey: str, out: Buffer) -> None:
    """Write the x coordinate of the ECDH point (32 bytes, not hashed; NIP-04, NIP-44) into `out`.

    Constant time in the secret. Raises InvalidKey when either key is not valid.
    """
    _check_size(secret, SECRET_BYTES)
    _check_size(out, 32)
    compressed = b"\x02" + _unhex(pubkey)  # BIP-340: an x-only key stands for even y
    point = ffi.new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_parse(_CTX, point, compressed, 33):
        raise InvalidKey("public key is not on the curve")
    if not lib.secp256k1_ecdh(
        _CTX, ffi.from_buffer(out), point, ffi.from_buffer(secret), _copy_x, ffi.NULL
    ):
        raise InvalidKey("private key is out of range")


class SecretKey:
    """A private key in this process's own memory: for throw-away client keys and for tests.

    A key worth keeping belongs in the NSE (`bunker_signer.nse`), which opens it for one operation
    at a time. `wipe` zeroes the key; using it afterwards raises InvalidKey. The repr shows nothing.
    """

    __slots__ = ("_keypair", "_secret", "pubkey")

    def __init__(self, secret: Buffer | bytes) -> None:
        """Copy the 32-byte `secret`; raises InvalidKey when it is out of range."""
        _check_size(secret, SECRET_BYTES)
        self._secret = bytearray(secret)
        self._keypair = bytearray(KEYPAIR_BYTES)
        load_keypair(self._secret, self._keypair)
        self.pubkey: Final = keypair_pubkey(self._keypair)

    @classmethod
    def generate(cls) -> "SecretKey":
        """Make a fresh random key."""
        secret = bytearray(SECRET_BYTES)
        fill_random_secret(secret)
        try:
            return cls(secret)
        finally:
            wipe(secret)

    def sign(self, message: bytes, aux: bytes | None = None) -> bytes:
        """Return the 64-byte BIP-340 signature of `message`; `aux` as for `sign`."""
        self._check_open()
        return sign(self._keypair, message, aux)

    def shared_x(self, pubkey: str) -> bytes:
        """Return the 32-byte ECDH x coordinate with `pubkey` (NIP-04, NIP-44)."""
        self._check_open()
        out = bytearray(32)
        shared_x(self._secret, pubkey, out)
        return bytes(out)

    def copy_secret(self, out: Buffer) -> None:
        """Write the 32 secret bytes into `out`, which the caller owns and wipes."""
        self._check_open()
        _check_size(out, SECRET_BYTES)
        out[:] = self._secret

    def wipe(self) -> None:
        """Zero the key."""
        wipe(self._secret)
        wipe(self._keypair)

    def _check_open(self) -> None:
        if not any(self._keypair):
            raise InvalidKey("private key was wiped")

    def __repr__(self) -> str:
        return f"SecretKey(pubkey={self.pubkey!r})"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


def _check_size(buffer: Buffer | bytes, size: int) -> None:
    # A length that libsecp256k1 does not check: too short would read past the end.
    if len(buffer) != size:
        raise InvalidKey(f"expected {size} bytes, got {len(buffer)}")


def _check_keypair(keypair: Buffer) -> None:
    # libsecp256k1 ends the whole process when the public half is zero, as it is after a wipe.
    _check_size(keypair, KEYPAIR_BYTES)
    if not any(memoryview(keypair)[SECRET_BYTES:]):
        raise InvalidKey("private key was wiped")


@lru_cache(maxsize=_PARSED_PUBKEYS)
def _parse_xonly(pubkey: str) -> Any:
    """Return libsecp256k1's parsed form of `pubkey`; the parse is a tenth of a verification."""
    raw = _unhex(pubkey)
    xonly = ffi.new("secp256k1_xonly_pubkey *")
    if not lib.secp256k1_xonly_pubkey_parse(_CTX, xonly, raw):
        raise InvalidKey("public key is not on the curve")
    return xonly


def _unhex(pubkey: str) -> bytes:
    # bytes.fromhex skips spaces and takes capitals, which would give one user many spellings
    if len(pubkey) != 64 or not _HEX.issuperset(pubkey):
        raise InvalidKey("public key is not 64 lower-case hex characters")
    return bytes.fromhex(pubkey)


def _copy_x_into(output: int, x32: int, _y32: int, _data: int) -> int:
    ctypes.memmove(output, x32, 32)
    return 1


# libsecp256k1's own hash functions hash the point; Nostr wants its bare x (NIP-04). ctypes and not
# cffi makes the function pointer: libffi has its trampolines ready, where cffi's would need memory
# that is writable and executable, which a hardened service may not have. Kept in a module
# variable: a collected callback would be a dangling pointer.
_POINTER: Final = ctypes.c_void_p
_copy_x_function: Final = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER, _POINTER)(
    _copy_x_into
)
_copy_x: Final = ffi.cast(
    "int(*)(unsigned char *, const unsigned char *, const unsigned char *, void *)",
    ctypes.cast(_copy_x_function, _POINTER).value,
)
