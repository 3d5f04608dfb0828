"""nip44.py: version 2 with the 2026 length prefix."""

import hashlib
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import CryptoError, InvalidKey
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from support.strategies import SECRET_KEYS, TEXTS, secret_key

KEY = bytes.fromhex("c41c775356fd92eadc63ff5a0dc1da211b268cbea22316767095b2871ea1412d")
NONCE = (1).to_bytes(32)
FAILED = r"^encryption or decryption failed$"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_conversation_keys(nip44_vectors: dict[str, Any]) -> None:
    """valid.get_conversation_key: each pair of keys gives the key of the file."""
    rows = nip44_vectors["valid"]["get_conversation_key"]
    assert len(rows) == 35
    for row in rows:
        key = SecretKey(bytes.fromhex(row["sec1"]))
        assert nip44.conversation_key(key.shared_x(row["pub2"])).hex() == row["conversation_key"]


def test_message_keys(nip44_vectors: dict[str, Any]) -> None:
    """valid.get_message_keys: ChaCha20 key, its nonce and the HMAC key, in this order."""
    group = nip44_vectors["valid"]["get_message_keys"]
    key = bytes.fromhex(group["conversation_key"])
    assert len(group["keys"]) == 32
    for row in group["keys"]:
        expected = row["chacha_key"] + row["chacha_nonce"] + row["hmac_key"]
        assert nip44.message_keys(key, bytes.fromhex(row["nonce"])).hex() == expected


def test_padded_lengths(nip44_vectors: dict[str, Any]) -> None:
    """valid.calc_padded_len: every length is padded to that of the file."""
    rows = nip44_vectors["valid"]["calc_padded_len"]
    assert len(rows) == 24
    assert [[length, nip44.padded_length(length)] for length, _ in rows] == rows


def test_conversations(nip44_vectors: dict[str, Any]) -> None:
    """valid.encrypt_decrypt: both sides derive the key, encrypt and decrypt the same."""
    rows = nip44_vectors["valid"]["encrypt_decrypt"]
    assert len(rows) == 10
    for row in rows:
        one, other = SecretKey(bytes.fromhex(row["sec1"])), SecretKey(bytes.fromhex(row["sec2"]))
        nonce = bytes.fromhex(row["nonce"])
        for key, peer in ((one, other), (other, one)):
            conversation_key = nip44.conversation_key(key.shared_x(peer.pubkey))
            assert conversation_key.hex() == row["conversation_key"]
            assert nip44.encrypt(row["plaintext"], conversation_key, nonce) == row["payload"]
            assert nip44.decrypt(row["payload"], conversation_key) == row["plaintext"]


def test_long_messages(nip44_vectors: dict[str, Any]) -> None:
    """valid.encrypt_decrypt_long_msg: long plaintexts have the sums of the file."""
    rows = nip44_vectors["valid"]["encrypt_decrypt_long_msg"]
    assert len(rows) == 3
    for row in rows:
        key = bytes.fromhex(row["conversation_key"])
        plaintext = row["pattern"] * row["repeat"]
        assert sha256(plaintext) == row["plaintext_sha256"]
        payload = nip44.encrypt(plaintext, key, bytes.fromhex(row["nonce"]))
        assert sha256(payload) == row["payload_sha256"]
        assert nip44.decrypt(payload, key) == plaintext


def test_lengths_that_the_file_still_calls_invalid(nip44_vectors: dict[str, Any]) -> None:
    """Of invalid.encrypt_msg_lengths only 0 is still invalid; the others are the extended prefix.

    65536, 100000 and 10000000 date from before NIP-44 gained the 6-byte prefix (2026-06), which
    raised the bound to 2**32 - 1 bytes without a new checksum for the file.
    """
    lengths = nip44_vectors["invalid"]["encrypt_msg_lengths"]
    assert lengths == [0, 65536, 100000, 10000000]
    with pytest.raises(CryptoError):
        nip44.encrypt("", KEY)
    for length in lengths[1:]:
        payload = nip44.encrypt("a" * length, KEY)
        assert nip44.decrypt(payload, KEY) == "a" * length


def test_invalid_conversation_keys(nip44_vectors: dict[str, Any]) -> None:
    """invalid.get_conversation_key: a key out of range or off the curve is refused."""
    rows = nip44_vectors["invalid"]["get_conversation_key"]
    assert len(rows) == 8
    for row in rows:
        with pytest.raises(InvalidKey):
            SecretKey(bytes.fromhex(row["sec1"])).shared_x(row["pub2"])


def test_invalid_payloads(nip44_vectors: dict[str, Any]) -> None:
    """invalid.decrypt: version, base64, size, MAC and padding all fail with the same error."""
    rows = nip44_vectors["invalid"]["decrypt"]
    assert len(rows) == 12
    for row in rows:
        with pytest.raises(CryptoError) as caught:
            nip44.decrypt(row["payload"], bytes.fromhex(row["conversation_key"]))
        assert str(caught.value) == "encryption or decryption failed"
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("length", "prefix", "padded", "plaintext_sha256", "payload_sha256"),
    [
        (
            65535,
            2,
            65536,
            "6e1bebca6a8229364a162a72ef064826c4cd7457bf54f190ef782bd9deff3e42",
            "6d8c2810d1e870fbaa1f0a0937126cca837a15f9260e27060c331d70a3c0bc84",
        ),
        (
            65536,
            6,
            65536,
            "bf718b6f653bebc184e1479f1935b8da974d701b893afcf49e701f3e2f9f9c5a",
            "b7b4edb36ba92e267d322d56d9aebc22e7fa96ff52e3c12adc07f07a43cbc616",
        ),
        (
            65537,
            6,
            81920,
            "008ffc88d3c96a9f307524eb361e47c5222a887fc45fa0c1fb8d429c5c23b430",
            "eeb7c7c5373894ea2c1547cfd3ccb15d5a0b2d619da852e5c79df792dcc9e435",
        ),
    ],
)
def test_the_extended_prefix_table(
    length: int, prefix: int, padded: int, plaintext_sha256: str, payload_sha256: str
) -> None:
    """The table of NIP-44 at the boundary of the two length prefixes."""
    plaintext = "a" * length
    assert sha256(plaintext) == plaintext_sha256
    assert nip44.padded_length(length) == padded
    assert len(nip44.pad(plaintext.encode())) == prefix + padded
    payload = nip44.encrypt(plaintext, KEY, NONCE)
    assert sha256(payload) == payload_sha256
    assert nip44.decrypt(payload, KEY) == plaintext


@given(SECRET_KEYS, SECRET_KEYS, TEXTS.filter(bool))
def test_what_one_encrypts_the_other_decrypts(
    one: SecretKey, other: SecretKey, plaintext: str
) -> None:
    """Either side of a pair reads what the other wrote."""
    payload = nip44.encrypt(plaintext, nip44.conversation_key(one.shared_x(other.pubkey)))
    assert nip44.decrypt(payload, nip44.conversation_key(other.shared_x(one.pubkey))) == plaintext


@given(st.integers(1, 2**32 - 1))
def test_padding_never_shrinks_and_grows_by_at_most_a_quarter(length: int) -> None:
    """padded_length is at least the length, and above 128 bytes at most a quarter more."""
    padded = nip44.padded_length(length)
    assert padded >= max(length, 32)
    assert padded <= max(length * 5 // 4, length + 32)
    assert nip44.padded_length(padded) == padded


@given(st.binary(min_size=1, max_size=300))
def test_unpad_undoes_pad(plaintext: bytes) -> None:
    """Padding and its removal are opposites."""
    assert nip44.unpad(nip44.pad(plaintext)) == plaintext


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    """One flipped bit anywhere in the payload makes decryption fail."""
    raw = bytearray(b64decode(nip44.encrypt("n o b l e", KEY, NONCE)))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CryptoError):
        nip44.decrypt(b64encode(raw).decode(), KEY)


@given(st.binary(max_size=200))
def test_unpad_survives_anything(padded: bytes) -> None:
    """Unauthenticated padding gives a plaintext or CryptoError, nothing else."""
    try:
        plaintext = nip44.unpad(padded)
    except CryptoError:
        return
    assert nip44.pad(plaintext)[: 2 + len(plaintext)] == padded[: 2 + len(plaintext)]


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        b"\0",
        bytes(34),  # length 0 is nothing but the mark of the extended prefix
        b"\0\0" + (65535).to_bytes(4) + bytes(65536),  # one too short for the extended prefix
        b"\0\0" + (2**32 - 1).to_bytes(4) + bytes(65536),  # claims 4 GiB
        (33).to_bytes(2) + bytes(32),
        (1).to_bytes(2) + bytes(64),  # more padding than the length asks for
    ],
)
def test_padding_that_is_not_minimal_is_refused(padded: bytes) -> None:
    """Each plaintext has one padded form only."""
    with pytest.raises(CryptoError):
        nip44.unpad(padded)


def test_the_payload_is_measured_before_it_is_decoded() -> None:
    """A payload above the bound is refused; the largest plaintext stays below it."""
    largest = nip44.encrypt("a" * nip44.MAX_PLAINTEXT, KEY)
    assert len(largest) <= nip44.MAX_PAYLOAD
    with pytest.raises(CryptoError):
        nip44.encrypt("a" * (nip44.MAX_PLAINTEXT + 1), KEY)
    with pytest.raises(CryptoError):
        nip44.decrypt("A" * (nip44.MAX_PAYLOAD + 4), KEY)


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"\0"])
@pytest.mark.parametrize("nonce", [NONCE, NONCE[:31]])
def test_a_key_of_the_wrong_size_is_refused(key: bytes, nonce: bytes) -> None:
    """Key and nonce are 32 bytes each."""
    with pytest.raises(CryptoError):
        nip44.encrypt("a", key, nonce)
    with pytest.raises(CryptoError):
        nip44.encrypt("a", KEY, b"short")


def test_text_without_utf8_is_refused() -> None:
    """A lone surrogate can't be encrypted, and the error does not repeat it."""
    with pytest.raises(CryptoError, match=FAILED):
        nip44.encrypt("\ud800", KEY)


def test_message_keys_derive_straight_into_a_buffer() -> None:
    """The NSE's way around the conversation key gives the same 76 bytes and the same payload."""
    key, peer = secret_key(1), secret_key(2)
    shared_x = bytearray(key.shared_x(peer.pubkey))
    out = bytearray(nip44.MESSAGE_KEYS_BYTES)
    nip44.derive_message_keys(shared_x, NONCE, out)
    assert out == nip44.message_keys(nip44.conversation_key(shared_x), NONCE)
    payload = nip44.encrypt_with("a", NONCE, out)
    assert nip44.payload_nonce(payload) == NONCE
    assert nip44.decrypt_with(payload, memoryview(out)) == "a"


def test_a_fresh_nonce_for_every_payload() -> None:
    """The same text twice gives two payloads: a nonce is used once."""
    assert nip44.encrypt("a", KEY) != nip44.encrypt("a", KEY)
