"""The NSE's API: what it signs and encrypts, and how it refuses."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from bunker_core import keys
from bunker_core.event import EventTemplate, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip04, nip44
from bunker_signer.nse import (
    NSE,
    FileStorage,
    MemoryLevel,
    MemoryStorage,
    NostrEvent,
    NSEError,
    NSEErrorCode,
)
from support.modules import modules_after
from support.require import need

MASTER = "5f" * 32
EVENT = NostrEvent(kind=1, content="hello", tags=[["t", "nostr"]], created_at=1700000000)


def code_of(raised: pytest.ExceptionInfo[NSEError]) -> NSEErrorCode:
    assert "\n" not in str(raised.value)
    return raised.value.code


def test_signs() -> None:
    """A signed event verifies and says what was asked for."""
    with NSE(MASTER) as nse:
        info = nse.generate()
        signed = nse.sign(EVENT)
    verify(signed)
    assert (signed.pubkey, signed.kind, signed.content) == (info.pubkey, 1, "hello")
    assert signed.tags == (("t", "nostr"),)


def test_signs_template() -> None:
    """The core's own template is signed like the reference package's event."""
    with NSE(MASTER) as nse:
        nse.generate()
        verify(nse.sign(EventTemplate(1, "hello", (), 1700000000)))


def test_signatures_differ() -> None:
    """Fresh auxiliary randomness makes two signatures of one event differ."""
    with NSE(MASTER) as nse:
        nse.generate()
        assert nse.sign(EVENT).sig != nse.sign(EVENT).sig


def test_an_opened_keypair_is_libsecp256k1s_own() -> None:
    """Put together from the private half and the public one known before, it is the same."""
    with NSE(MASTER) as nse:
        nse.generate()
        for _ in range(2):
            with nse._opened():
                whole = bytearray(keys.KEYPAIR_BYTES)
                keys.load_keypair(nse._vault.secret, whole)
                assert nse._vault.keypair == whole
        assert not any(nse._vault.keypair)


def test_faulty_signature_is_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature that a fault made wrong, which could give the key away, is not returned."""
    sign = keys.sign

    def faulty(keypair: memoryview, message: bytes) -> bytes:
        signature = bytearray(sign(keypair, message))
        signature[40] ^= 1
        return bytes(signature)

    with NSE(MASTER) as nse:
        nse.generate()
        monkeypatch.setattr(keys, "sign", faulty)
        with pytest.raises(NSEError) as raised:
            nse.sign(EVENT)
    assert code_of(raised) is NSEErrorCode.SIGN_FAILED


def test_encrypts_to_a_peer_and_back() -> None:
    """A peer who knows their own key alone reads and answers, in NIP-44 and NIP-04."""
    peer = SecretKey.generate()
    with NSE(MASTER) as nse:
        pubkey = nse.generate().pubkey
        shared = peer.shared_x(pubkey)
        assert nse.shared_x(peer.pubkey) == shared
        key = nip44.conversation_key(shared)
        assert nse.conversation_key(peer.pubkey) == key
        assert nip44.decrypt(nse.nip44_encrypt(peer.pubkey, "ä" * 300), key) == "ä" * 300
        assert nse.nip44_decrypt(peer.pubkey, nip44.encrypt("answer", key)) == "answer"
        assert nip04.decrypt(nse.nip04_encrypt(peer.pubkey, "old"), shared) == "old"
        assert nse.nip04_decrypt(peer.pubkey, nip04.encrypt("answer", shared)) == "answer"


def test_imports_and_wipes() -> None:
    """An imported key is the one that signs, and the caller's buffer is zero afterwards."""
    key = SecretKey.generate()
    buffer = bytearray(32)
    key.copy_secret(buffer)
    with NSE(MASTER) as nse:
        assert nse.import_key(buffer).pubkey == key.pubkey
        assert nse.sign(EVENT).pubkey == key.pubkey
    assert not any(buffer)


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\1" * 31])
def test_import_refuses_what_is_no_key(secret: bytes) -> None:
    """A number that is no private key is refused, wiped, and nothing is stored."""
    buffer = bytearray(secret)
    with NSE(MASTER) as nse:
        with pytest.raises(NSEError) as raised:
            nse.import_key(buffer)
        assert not nse.exists()
    assert code_of(raised) is NSEErrorCode.SIGN_FAILED
    assert not any(buffer)


def test_lifecycle() -> None:
    """Exists follows generate and destroy; a second generate does not replace the key."""
    with NSE(MASTER) as nse:
        assert not nse.exists()
        with pytest.raises(NSEError) as raised:
            nse.get_public_key()
        assert code_of(raised) is NSEErrorCode.KEY_NOT_FOUND
        info = nse.generate()
        with pytest.raises(NSEError) as raised:
            nse.generate()
        assert code_of(raised) is NSEErrorCode.KEY_EXISTS
        assert (nse.get_public_key(), nse.get_npub()) == (info.pubkey, info.npub)
        nse.destroy()
        assert not nse.exists()


@pytest.mark.parametrize("master", ["", "5f" * 31, "5g" * 32, "5f " * 21 + "5", bytearray(31)])
def test_bad_master_key(master: str | bytearray) -> None:
    """A master key that is not 32 bytes is refused when it is given."""
    with pytest.raises(NSEError) as raised:
        NSE(master)
    assert code_of(raised) is NSEErrorCode.HARDWARE_UNAVAILABLE


def test_wrong_master_key() -> None:
    """Another master key opens nothing and changes nothing."""
    storage = MemoryStorage()
    with NSE(bytearray(b"\x5f" * 32), storage) as nse:
        nse.generate()
    before = storage.get("nse:blob")
    with NSE("60" * 32, storage) as nse, pytest.raises(NSEError) as raised:
        nse.sign(EVENT)
    assert code_of(raised) is NSEErrorCode.DECRYPTION_FAILED
    assert storage.get("nse:blob") == before


@pytest.mark.parametrize(
    "event",
    [
        NostrEvent(True, "", [], 0),
        NostrEvent(1, "", [], 1.5),  # type: ignore[arg-type]
        NostrEvent(1, "\ud800", [], 0),
        NostrEvent(70000, "", [], 0),
        NostrEvent(1, "", [[1]], 0),  # type: ignore[list-item]
        None,
    ],
)
def test_bad_event(event: NostrEvent) -> None:
    """What is not an event is refused as one and never signed."""
    with NSE(MASTER) as nse:
        nse.generate()
        with pytest.raises(NSEError) as raised:
            nse.sign(event)
    assert code_of(raised) is NSEErrorCode.SIGN_FAILED


def test_bad_peer_and_payload() -> None:
    """A peer that is no point on the curve, and a payload that is none, are NSEErrors."""
    peer = SecretKey.generate().pubkey
    with NSE(MASTER) as nse:
        nse.generate()
        for bad in ("", "zz" * 32, "ff" * 32, peer[:-2]):
            for encrypt in (nse.nip44_encrypt, nse.nip04_encrypt):
                with pytest.raises(NSEError) as raised:
                    encrypt(bad, "text")
                assert code_of(raised) is NSEErrorCode.SIGN_FAILED
        for payload in ("", "#", "A" * 200, nse.nip44_encrypt(peer, "text")[:-4] + "AAAA"):
            for decrypt in (nse.nip44_decrypt, nse.nip04_decrypt):
                with pytest.raises(NSEError) as raised:
                    decrypt(peer, payload)
                assert code_of(raised) is NSEErrorCode.DECRYPTION_FAILED
        with pytest.raises(NSEError):
            nse.nip44_encrypt(peer, "")


def test_closed_enclave_says_so() -> None:
    """After close nothing works and nothing crashes."""
    nse = NSE(MASTER)
    nse.generate()
    nse.close()
    nse.close()
    with pytest.raises(NSEError) as raised:
        nse.sign(EVENT)
    assert code_of(raised) is NSEErrorCode.AUTH_FAILED


def test_names_are_apart() -> None:
    """Keys of different names in one storage are different keys; a bad name is refused."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as one, NSE(MASTER, storage, name="bot_1") as two:
        assert one.generate().pubkey != two.generate().pubkey
    assert storage.keys() == ["nse:blob", "nse:blob:bot_1"]
    for name in ("", "a:b", "../x", ".x", "a" * 65):
        with pytest.raises(NSEError):
            NSE(MASTER, storage, name=name)


def test_reports_memory_level() -> None:
    """The level of memory protection in force is reported."""
    with NSE(MASTER) as nse:
        assert isinstance(nse.memory_level, MemoryLevel)


def test_repr_shows_no_key() -> None:
    """Neither the master key nor anything sealed is in a repr."""
    with NSE(MASTER) as nse:
        nse.generate()
        assert "5f5f" not in repr(nse) + repr(vars(nse))


def test_reference_package_opens_ours(tmp_path: Path) -> None:
    """nostr-secure-enclave signs with a key that was made here."""
    nse_module = _reference()
    with NSE(MASTER, FileStorage(tmp_path)) as ours:
        info = ours.generate(blob_version=1)
    theirs = nse_module.NSE(MASTER, _reference_storage(tmp_path))
    signed = theirs.sign(nse_module.NostrEvent(1, "hello", [], 1700000000))
    assert signed.pubkey == info.pubkey == theirs.get_public_key()
    with NSE(MASTER, FileStorage(tmp_path)) as ours:
        template = EventTemplate(1, "hello", (), 1700000000)
        assert ours.sign(template).id == signed.id


def test_opens_what_the_reference_package_made(tmp_path: Path) -> None:
    """A key that nostr-secure-enclave made signs here."""
    nse_module = _reference()
    info = nse_module.NSE(MASTER, _reference_storage(tmp_path)).generate()
    with NSE(MASTER, FileStorage(tmp_path)) as ours:
        assert ours.get_npub() == info.npub
        signed = ours.sign(EVENT)
    assert verify(signed).pubkey == info.pubkey


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"version": True},
        {"pubkey": SecretKey.generate().pubkey},
        {"ciphertext": "00" * 48},
        {"iv": "00" * 12},
        {"iv": "00"},
        {"created_at": "now"},
        {"hardware_backed": True},
        {"npub": "npub1"},
        {"extra": 1},
    ],
)
def test_changed_blob(change: dict[str, object]) -> None:
    """A version 1 key with any field changed signs nothing."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        nse.generate(blob_version=1)
        blob = json.loads(storage.get("nse:blob") or "")
        storage.put("nse:blob", json.dumps(blob | change))
        with pytest.raises(NSEError) as raised:
            nse.sign(EVENT)
    assert code_of(raised) in (NSEErrorCode.STORAGE_ERROR, NSEErrorCode.DECRYPTION_FAILED)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"version":1}', "[" * 5000])
def test_foreign_blob(text: str) -> None:
    """Text that is no stored key is one NSEError."""
    storage = MemoryStorage()
    storage.put("nse:blob", text)
    with NSE(MASTER, storage) as nse, pytest.raises(NSEError) as raised:
        nse.sign(EVENT)
    assert code_of(raised) is NSEErrorCode.STORAGE_ERROR


def _reference() -> Any:
    need(importlib.util.find_spec("nse"), "nostr-secure-enclave is not installed")
    return importlib.import_module("nse")


def _reference_storage(directory: Path) -> Any:
    return importlib.import_module("nse.storage").FileStorage(str(directory))


def test_import_is_light() -> None:
    """The NSE is imported without the agent's dependencies."""
    names = {name.partition(".")[0] for name in modules_after("import bunker_signer.nse")}
    assert names.isdisjoint({"sqlalchemy", "click", "websockets", "segno", "boto3", "asyncio"})
    assert {"cryptography", "orjson", "bunker_core"} <= names
