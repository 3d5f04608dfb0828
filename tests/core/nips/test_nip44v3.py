"""nip44v3.py: the draft's test vectors, in the version that Amber passes, and hostile payloads."""

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import CryptoError
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44v3
from support.strategies import secret_key

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "nip44v3.json").read_text()
)


def message_keys(secret: str, pubkey: str, nonce: bytes) -> bytearray:
    keys = bytearray(nip44v3.MESSAGE_KEYS_BYTES)
    nip44v3.derive_message_keys(SecretKey(bytes.fromhex(secret)).shared_x(pubkey), nonce, keys)
    return keys


def keys_of(vector: dict[str, Any]) -> bytearray:
    peer = SecretKey(bytes.fromhex(vector["secret2"])).pubkey
    keys = message_keys(vector["secret1"], peer, bytes.fromhex(vector["nonce"]))
    # the same from the other side
    me = SecretKey(bytes.fromhex(vector["secret1"])).pubkey
    assert keys == message_keys(vector["secret2"], me, bytes.fromhex(vector["nonce"]))
    return keys


def scope_of(vector: dict[str, Any]) -> str:
    return bytes.fromhex(vector["scope_hex"]).decode(errors="surrogateescape")


@pytest.mark.parametrize("vector", VECTORS["encrypt_decrypt"])
def test_the_vectors_are_encrypted_and_decrypted(vector: dict[str, Any]) -> None:
    """Both keys, the payload, and the plaintext again."""
    keys = keys_of(vector)
    assert keys.hex() == vector["encryption_key"] + vector["mac_key"]
    nonce, plaintext = bytes.fromhex(vector["nonce"]), bytes.fromhex(vector["plaintext_hex"])
    kind, scope = vector["kind"], scope_of(vector)
    payload = nip44v3.encrypt_with(plaintext, nonce, keys, kind, scope)
    assert payload == vector["ciphertext"]
    assert nip44v3.payload_nonce(payload) == nonce
    assert nip44v3.decrypt_with(payload, keys, kind, scope) == plaintext


@pytest.mark.parametrize("vector", VECTORS["decrypt_only"])
def test_other_paddings_are_decrypted(vector: dict[str, Any]) -> None:
    """The padding of the draft is a SHOULD: more or less of it is read."""
    plaintext = nip44v3.decrypt_with(
        vector["ciphertext"], keys_of(vector), vector["kind"], scope_of(vector)
    )
    assert plaintext.hex() == vector["plaintext_hex"]


@pytest.mark.parametrize("vector", VECTORS["long_encrypt_decrypt"])
def test_long_texts_have_the_right_payload(vector: dict[str, Any]) -> None:
    """Up to a quarter of a megabyte, by the hash of the payload."""
    plaintext = bytes.fromhex(vector["pattern_hex"]) * vector["repeat"]
    keys, scope = keys_of(vector), scope_of(vector)
    nonce = bytes.fromhex(vector["nonce"])
    payload = nip44v3.encrypt_with(plaintext, nonce, keys, vector["kind"], scope)
    assert sha256(payload.encode()).hexdigest() == vector["ciphertext_sha256"]
    assert nip44v3.decrypt_with(payload, keys, vector["kind"], scope) == plaintext


@pytest.mark.parametrize(("length", "padded"), VECTORS["padded_length"])
def test_lengths_after_padding(length: int, padded: int) -> None:
    """The draft's table."""
    assert nip44v3.padded_length(length) == padded


@pytest.mark.parametrize("vector", VECTORS["invalid_decryption"], ids=lambda v: v["why"])
def test_what_is_wrong_is_refused_with_one_error(vector: dict[str, Any]) -> None:
    """Changed, of another version, kind or scope, cut short: CryptoError, which never says why."""

    def decrypt() -> None:
        nonce = nip44v3.payload_nonce(vector["ciphertext"])
        keys = message_keys(vector["secret"], vector["public"], nonce)
        nip44v3.decrypt_with(vector["ciphertext"], keys, vector["kind"], scope_of(vector))

    with pytest.raises(CryptoError):
        decrypt()


KEYS = message_keys("11" * 32, secret_key(2).pubkey, bytes(32))


@given(
    st.binary(max_size=300),
    st.integers(0, nip44v3.MAX_KIND),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)
def test_round_trip(plaintext: bytes, kind: int, scope: str) -> None:
    """Whatever is encrypted for a kind and a scope is decrypted for them, and for no others."""
    payload = nip44v3.encrypt_with(plaintext, bytes(32), KEYS, kind, scope)
    assert nip44v3.decrypt_with(payload + "\n", KEYS, kind, scope) == plaintext
    for other_kind, other_scope in ((kind ^ 1, scope), (kind, scope + "x")):
        with pytest.raises(CryptoError):
            nip44v3.decrypt_with(payload, KEYS, other_kind, other_scope)


@given(st.data())
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    """Any byte after the version: nothing of a payload is left out of the MAC."""
    payload = bytearray(b64decode(nip44v3.encrypt_with(b"text", bytes(32), KEYS, 1, "app")))
    index = data.draw(st.integers(1, len(payload) - 1))
    payload[index] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CryptoError):
        nip44v3.decrypt_with(b64encode(payload).decode(), KEYS, 1, "app")


@given(st.text(max_size=200))
def test_garbage_raises_only_crypto_error(payload: str) -> None:
    """Whatever a stranger sends."""
    with pytest.raises(CryptoError):
        nip44v3.decrypt_with(payload, KEYS, 1, "")


@pytest.mark.parametrize(
    ("kind", "scope"), [(-1, ""), (nip44v3.MAX_KIND + 1, ""), (1, "\ud800"), (1, "x" * 1025)]
)
def test_a_context_that_is_none_is_refused(kind: int, scope: str) -> None:
    """A kind that is no u31, a scope without UTF-8 or without end."""
    with pytest.raises(CryptoError):
        nip44v3.encrypt_with(b"x", bytes(32), KEYS, kind, scope)
