"""NIP-49: the specification's example, other implementations, and what is refused."""

import importlib
import importlib.util
from typing import Any

import pytest

from bunker_core.errors import CryptoError, InvalidEntity
from bunker_core.keys import SecretKey
from bunker_core.nips import nip49
from bunker_core.nips.nip19 import decode_bech32, encode_bech32
from support.require import need

SPEC = (
    "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcxfqtd67p9m0w57lspw8gsq6yphnm8623"
    "nsl8xn9j4jdzz84zm3frztj3z7s35vpzmqf6ksu8r89qk5z2zxfmu5gv8th8wclt0h4p"
)
SPEC_SECRET = "3501454135014541350145413501453fefb02227e449e57cf4d3a3ce05378683"
# The passphrase of NIP-49's normalization example, as typed and in NFKC.
TYPED = "\u212b\u2126\u1e9b\u0323"
NORMAL = "\u00c5\u03a9\u1e69"


def rust_nostr() -> Any:
    need(importlib.util.find_spec("nostr_sdk"), "nostr-sdk is not installed")
    return importlib.import_module("nostr_sdk")


def secret() -> bytearray:
    out = bytearray(32)
    SecretKey.generate().copy_secret(out)
    return out


def changed(text: str, index: int, value: int) -> str:
    name, data = decode_bech32(text)
    data[index] = value
    return encode_bech32(name, data)


def test_specification() -> None:
    """The text in NIP-49 decrypts to the key that it says."""
    out = bytearray(32)
    security = nip49.decrypt(SPEC, "nostr", out)
    assert out.hex() == SPEC_SECRET
    assert security is nip49.KeySecurity.HANDLED_INSECURELY


@pytest.mark.parametrize("security", list(nip49.KeySecurity))
def test_round_trip(security: nip49.KeySecurity) -> None:
    """What was encrypted decrypts to the same key and the same security byte."""
    key, out = secret(), bytearray(32)
    text = nip49.encrypt(key, "pass", log_n=2, security=security)
    assert nip49.decrypt(text, bytearray(b"pass"), out) is security
    assert out == key


def test_passphrase_is_normalized() -> None:
    """The same passphrase typed on another keyboard, in other code points, opens the key."""
    key, out = secret(), bytearray(32)
    nip49.decrypt(nip49.encrypt(key, TYPED, log_n=2), NORMAL, out)
    assert out == key


def test_rust_nostr_reads_ours() -> None:
    """nostr-sdk decrypts what was encrypted here, with a passphrase that has to be normalized."""
    key = secret()
    text = nip49.encrypt(key, TYPED, log_n=4)
    assert rust_nostr().EncryptedSecretKey.from_bech32(text).decrypt(NORMAL).to_hex() == key.hex()


def test_reads_rust_nostr() -> None:
    """What nostr-sdk encrypted decrypts here."""
    key, out = secret(), bytearray(32)
    text = rust_nostr().SecretKey.parse(key.hex()).encrypt(NORMAL).to_bech32()
    nip49.decrypt(text, TYPED, out)
    assert out == key


def test_wrong_passphrase() -> None:
    """A wrong passphrase is one error, and no key is left in the buffer."""
    out = bytearray(b"\1" * 32)
    with pytest.raises(CryptoError):
        nip49.decrypt(nip49.encrypt(secret(), "right", log_n=2), "wrong", out)
    assert not any(out)


@pytest.mark.parametrize("index", range(91))
def test_every_changed_byte_is_refused(index: int) -> None:
    """No byte of the encrypted key can be changed unnoticed."""
    text = nip49.encrypt(secret(), "pass", log_n=2)
    value = decode_bech32(text)[1][index]
    # log_n must stay cheap and allowed here: 2 becomes 3
    with pytest.raises((CryptoError, InvalidEntity)):
        nip49.decrypt(changed(text, index, value ^ 1), "pass", bytearray(32))


@pytest.mark.parametrize("log_n", [0, 21, 22, 64, 255])
def test_memory_is_bounded(log_n: int) -> None:
    """A text can't make this machine allocate more than a gibibyte."""
    text = nip49.encrypt(secret(), "pass", log_n=2)
    with pytest.raises(InvalidEntity):
        nip49.decrypt(changed(text, 1, log_n), "pass", bytearray(32))
    with pytest.raises(CryptoError):
        nip49.encrypt(secret(), "pass", log_n=log_n)


@pytest.mark.parametrize(
    "text", ["", "ncryptsec1", SPEC[:-1], SPEC + "q", encode_bech32("nsec", bytes(91))]
)
def test_not_an_ncryptsec(text: str) -> None:
    """Anything else is refused before the passphrase is used."""
    with pytest.raises(InvalidEntity):
        nip49.decrypt(text, "pass", bytearray(32))


def test_symmetric_key_is_wiped() -> None:
    """The caller's work buffer is zero after both directions."""
    work = bytearray(b"\1" * 32)
    text = nip49.encrypt(secret(), "pass", log_n=2, work=work)
    assert not any(work)
    work[:] = b"\1" * 32
    nip49.decrypt(text, "pass", bytearray(32), work=work)
    assert not any(work)
