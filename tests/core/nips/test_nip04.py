"""nip04.py: AES-256-CBC, for those who still need it."""

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import CryptoError
from bunker_core.keys import SecretKey
from bunker_core.nips import nip04
from support.strategies import SECRET_KEYS, TEXTS, secret_key

KEY = bytes(range(32))
IV = bytes(range(16))
FAILED = r"^encryption or decryption failed$"


def secret(text: str) -> SecretKey:
    """Return a private key of 64 hex characters."""
    return SecretKey(bytes.fromhex(text))


def test_a_payload_of_nostr_tools() -> None:
    """NIP-04 has no vectors; this message is from the tests of nostr-tools."""
    one = SecretKey(
        bytes.fromhex("91ba716fa9e7ea2fcbad360cf4f8e0d312f73984da63d90f524ad61a6a1e7dbe")
    )
    other = SecretKey(
        bytes.fromhex("96f6fa197aa07477ab88f6981118466ae3a982faab8ad5db9d5426870c73d220")
    )
    payload = "zJxfaJ32rN5Dg1ODjOlEew==?iv=EV5bUjcc4OX2Km/zPp4ndQ=="
    iv = b64decode("EV5bUjcc4OX2Km/zPp4ndQ==")
    assert nip04.decrypt(payload, other.shared_x(one.pubkey)) == "nanana"
    assert nip04.encrypt("nanana", one.shared_x(other.pubkey), iv) == payload


@given(SECRET_KEYS, SECRET_KEYS, TEXTS)
def test_what_one_encrypts_the_other_decrypts(
    one: SecretKey, other: SecretKey, plaintext: str
) -> None:
    """Either side of a pair reads what the other wrote; the empty text too."""
    payload = nip04.encrypt(plaintext, one.shared_x(other.pubkey))
    assert nip04.is_payload(payload)
    assert nip04.decrypt(payload, other.shared_x(one.pubkey)) == plaintext


@given(st.text(max_size=200))
def test_random_text_raises_only_crypto_error(text: str) -> None:
    """Whatever is not a payload fails with the one error."""
    with pytest.raises(CryptoError, match=FAILED):
        nip04.decrypt(text, KEY)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "?iv=",
        "AAAA",
        "AAAA?iv=",
        "AAAA?iv=AAAA",
        "?iv=AAECAwQFBgcICQoLDA0ODw==",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAAA==?iv=AAECAwQFBgcICQoLDA0ODw==?iv=AAECAwQFBgcICQoLDA0ODw==",
        "AAAAAAAAAAAAAAAAAAAAAA==?iv=\ud800",
        "é?iv=AAECAwQFBgcICQoLDA0ODw==",
    ],
)
def test_damaged_payloads_fail_alike(payload: str) -> None:
    """Base64, block size, IV and length fail with one message and no cause: no oracle."""
    with pytest.raises(CryptoError, match=FAILED) as caught:
        nip04.decrypt(payload, KEY)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"\0"])
def test_a_key_of_the_wrong_size_is_refused(key: bytes) -> None:
    """The ECDH x is 32 bytes, the IV 16."""
    with pytest.raises(CryptoError):
        nip04.encrypt("a", key)
    with pytest.raises(CryptoError):
        nip04.decrypt(nip04.encrypt("a", KEY), key)
    with pytest.raises(CryptoError):
        nip04.encrypt("a", KEY, iv=IV[:15])
    with pytest.raises(CryptoError):
        nip04.encrypt("\ud800", KEY)


def test_the_wrong_key_reads_nothing() -> None:
    """Padding that does not come out right is the same error as everything else."""
    payload = nip04.encrypt("secret", secret_key(1).shared_x(secret_key(2).pubkey), IV)
    with pytest.raises(CryptoError):
        nip04.decrypt(payload, KEY)


def test_the_schemes_are_told_apart_by_the_iv() -> None:
    """Only NIP-04 has `?iv=`; base64 has no question mark, so NIP-44 never looks like it."""
    assert nip04.is_payload("abc?iv=def")
    assert not nip04.is_payload("AgAAAAAAAAAA")


def test_the_payload_is_measured_before_it_is_decoded() -> None:
    """A payload above the bound is refused although it is a good one."""
    with pytest.raises(CryptoError):
        nip04.decrypt(nip04.encrypt("a" * (nip04.MAX_PAYLOAD * 3 // 4), KEY), KEY)
