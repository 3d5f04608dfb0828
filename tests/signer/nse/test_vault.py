"""nse/vault.py, nse/blob.py: a key is the one it is said to be, and a slot has what a slot has."""

from typing import Any

import pytest

from bunker_core import keys
from bunker_core.keys import Buffer, SecretKey
from bunker_core.nips import nip44, nip44v3
from bunker_signer.nse import NSEError, NSEErrorCode
from bunker_signer.nse import vault as vault_module
from bunker_signer.nse.blob import MAX_PARAMS, Slot
from bunker_signer.nse.vault import Vault, seal

MESSAGE = bytes(32)


def sealed_in(vault: Vault) -> tuple[bytes, bytes, str]:
    """Return the nonce, ciphertext and pubkey of a fresh key sealed under the vault's data key."""
    key = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    return *seal(vault.data_key, secret, b""), key.pubkey


def test_what_is_remembered_of_one_key_is_not_used_for_another() -> None:
    """The public half of the key opened last is taken for the same ciphertext and name alone."""
    vault = Vault()
    vault.data_key[:] = bytes(range(32))
    one, other = sealed_in(vault), sealed_in(vault)
    for nonce, sealed, pubkey in (one, one, other, other, one):
        vault.open(nonce, sealed, b"", pubkey)
        assert keys.verify(pubkey, MESSAGE, vault.sign(pubkey, MESSAGE))
        vault.end()
    for nonce, sealed, pubkey in ((*one[:2], other[2]), (*other[:2], one[2])):
        with pytest.raises(NSEError) as raised:
            vault.open(nonce, sealed, b"", pubkey)
        assert raised.value.code is NSEErrorCode.DECRYPTION_FAILED
        vault.end()
    vault.page.close()


def test_a_signature_that_does_not_verify_is_not_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the computation can give the key away by a wrong one (BIP-340)."""
    vault = Vault()
    nonce, sealed, pubkey = sealed_in(vault)
    vault.open(nonce, sealed, b"", pubkey)
    monkeypatch.setattr(keys, "sign", lambda _keypair, _message: bytes(64))
    with pytest.raises(NSEError, match="not released") as raised:
        vault.sign(pubkey, MESSAGE)
    assert raised.value.code is NSEErrorCode.SIGN_FAILED
    vault.page.close()


def test_no_two_secrets_share_a_byte_and_none_outlasts_an_operation() -> None:
    """All but the data key go with its end; what lies behind them in the page is not written to."""
    vault = Vault()
    parts = [vault.data_key, vault.wrapping_key, vault.secret, vault.keypair, vault.shared_x]
    parts += [vault.message_keys, vault.scratch, vault.saved_key]
    assert [part.nbytes for part in parts] == [32, 32, 32, 96, 32, 76, 32, 32]
    vault.page.view[:] = b"\xff" * vault.page.view.nbytes
    for number, part in enumerate(parts):
        part[:] = bytes([number]) * part.nbytes
    assert [set(part) for part in parts] == [{number} for number in range(len(parts))]
    vault.data_key[:] = b"\x01" * 32
    vault.end()
    assert set(vault.data_key) == {1}
    assert not any(any(part) for part in parts[1:])
    assert vault.page.view[364] == 0xFF
    vault.wipe()
    assert not any(vault.page.view)
    vault.page.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is decrypted, in order."""
    opened: list[bytes] = []
    original = vault_module.open_into

    def counted(key: Buffer, nonce: bytes, sealed: bytes, aad: bytes | None, out: Any) -> None:
        opened.append(sealed)
        original(key, nonce, sealed, aad, out)

    monkeypatch.setattr(vault_module, "open_into", counted)
    return opened


def test_a_decryption_is_followed_by_one_of_a_dummy(
    opened: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first left in registers goes; the public half is computed for the first use."""
    computed = 0
    original = keys.load_keypair

    def counted(secret: Buffer, keypair: memoryview) -> None:
        nonlocal computed
        computed += 1
        original(secret, keypair)

    monkeypatch.setattr(keys, "load_keypair", counted)
    vault = Vault()
    for _ in range(2):
        nonce, sealed, pubkey = sealed_in(vault)
        computed = 0
        for stays_open, decrypted in ((False, 3), (True, 1)):
            opened.clear()
            vault.stays_open = stays_open
            for _ in range(3):
                vault.open(nonce, sealed, b"", pubkey)
                vault.end()
            dummies = opened[1::2]
            assert opened[::2] == [sealed] * decrypted
            assert len(dummies) == decrypted
            assert len({*dummies, sealed}) == 2
        assert computed == 1
        vault.wipe()
    vault.page.close()


def test_a_peer_reads_what_is_encrypted_for_it() -> None:
    """And the other way round, in each version: the message's keys are those of the two alone."""
    vault, peer = Vault(), SecretKey.generate()
    nonce, sealed, pubkey = sealed_in(vault)
    shared = bytearray(peer.shared_x(pubkey))

    def opened() -> Vault:
        vault.end()  # nothing is left of the operation before
        vault.open(nonce, sealed, b"", pubkey)
        return vault

    message_keys = bytearray(nip44.MESSAGE_KEYS_BYTES)
    payload = opened().nip44_encrypt(peer.pubkey, "text")
    nip44.derive_message_keys(shared, nip44.payload_nonce(payload), message_keys)
    assert nip44.decrypt_with(payload, message_keys) == "text"
    assert opened().nip44_decrypt(peer.pubkey, payload) == "text"
    message_keys = bytearray(nip44v3.MESSAGE_KEYS_BYTES)
    payload = opened().nip44v3_encrypt(peer.pubkey, b"text", 1, "scope")
    nip44v3.derive_message_keys(shared, nip44v3.payload_nonce(payload), message_keys)
    assert nip44v3.decrypt_with(payload, message_keys, 1, "scope") == b"text"
    assert opened().nip44v3_decrypt(peer.pubkey, payload, 1, "scope") == b"text"
    vault.page.close()


def test_a_key_that_stays_open_is_gone_once_it_is_wiped() -> None:
    """It is opened by the data key again, or not at all."""
    vault = Vault()
    vault.stays_open = True
    vault.data_key[:] = bytes(range(32))
    nonce, sealed, pubkey = sealed_in(vault)
    vault.open(nonce, sealed, b"", pubkey)
    vault.end()
    vault.wipe()
    assert not any(vault.page.view)
    with pytest.raises(NSEError):
        vault.open(nonce, sealed, b"", pubkey)
    vault.page.close()


def test_a_key_that_stays_open_is_decrypted_once(opened: list[bytes]) -> None:
    """Its secret and keypair stay in the page, all else is wiped after each operation."""
    vault = Vault()
    vault.stays_open = True
    vault.data_key[:] = bytes(range(32))
    nonce, sealed, pubkey = sealed_in(vault)
    peer = SecretKey.generate().pubkey
    for _ in range(3):
        vault.open(nonce, sealed, b"", pubkey)
        assert keys.verify(pubkey, MESSAGE, vault.sign(pubkey, MESSAGE))
        vault.nip44_encrypt(peer, "text")
        vault.end()
        assert any(vault.secret)
        assert any(vault.keypair)
        assert not any(vault.page.view[32:64])
        assert not any(vault.page.view[192:])
    assert opened.count(sealed) == 1
    vault.page.close()


def test_a_key_that_stays_open_gives_way_to_another() -> None:
    """Another ciphertext, or another name for the same, is opened and checked as ever."""
    vault = Vault()
    vault.stays_open = True
    vault.data_key[:] = bytes(range(32))
    one, other = sealed_in(vault), sealed_in(vault)
    for nonce, sealed, pubkey in (one, other, other, one):
        vault.open(nonce, sealed, b"", pubkey)
        assert keys.verify(pubkey, MESSAGE, vault.sign(pubkey, MESSAGE))
        vault.end()
    with pytest.raises(NSEError):
        vault.open(*one[:2], b"", other[2])
    vault.end()
    assert not any(vault.page.view[32:])
    vault.page.close()


GOOD: dict[str, Any] = {
    "id": "k1",
    "type": "raw",
    "hw": False,
    "bound": True,
    "params": {"salt": "00", "m": 1},
    "iv": "ab" * 12,
    "ct": "ab" * 48,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": "x" * 65},
        {"id": 7},
        {"id": "a\nb"},
        {"type": ""},
        {"type": None},
        {"type": "x" * 65},
        {"hw": 0},
        {"hw": None},
        {"bound": 1},
        {"bound": "true"},
        {"params": []},
        {"params": {f"{n}": n for n in range(MAX_PARAMS + 1)}},
        {"params": {"m": 1.5}},
        {"params": {"m": True}},
        {"params": {"m": None}},
        {"params": {"m": {}}},
        {"iv": "ab" * 11},
        {"iv": "AB" * 12},
        {"ct": "ab" * 47},
        {"ct": "zz" * 48},
        {"ct": None},
    ],
    ids=repr,
)
def test_a_slot_with_one_wrong_field_is_none(wrong: dict[str, Any]) -> None:
    """Each field is looked at before anything is computed from it."""
    Slot(**GOOD)
    with pytest.raises(NSEError) as raised:
        Slot(**{**GOOD, **wrong})
    assert raised.value.code is NSEErrorCode.STORAGE_ERROR


def test_the_largest_slot_is_one() -> None:
    """At its bounds each field is taken still."""
    params = {f"{n}": n for n in range(MAX_PARAMS)}
    Slot(**{**GOOD, "id": "x" * 64, "type": "y" * 64, "params": params})
