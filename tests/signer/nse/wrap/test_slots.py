"""Version 2 keys: slots come and go, and no changed bit of the file is taken."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bunker_core.event import EventTemplate, verify
from bunker_core.keys import SecretKey
from bunker_signer.nse import NSE, FileStorage, MemoryStorage, NSEError, NSEErrorCode
from bunker_signer.nse.blob import BlobV2, parse_blob
from bunker_signer.nse.memory import fill_random
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase, ScryptCost

MASTER = "5f" * 32
CHEAP = Argon2(memory_kib=8, passes=1)
EVENT = EventTemplate(1, "hello", (), 1700000000)


class Device:
    """A protector that is lost with its device: third parties write theirs like this."""

    type = "device"
    hardware = True
    device_bound = True

    def __init__(self) -> None:
        self.plugged_in = True

    def create(self, pubkey: str, key: memoryview) -> dict[str, str | int]:
        self.recover(pubkey, {}, key)
        return {"serial": 7}

    def recover(self, pubkey: str, params: object, key: memoryview) -> None:
        if not self.plugged_in:
            raise NSEError("device is not there", NSEErrorCode.HARDWARE_UNAVAILABLE)
        key[:] = bytes.fromhex(pubkey)


@pytest.fixture
def passphrase() -> Iterator[Passphrase]:
    protector = Passphrase("correct horse", CHEAP)
    yield protector
    protector.close()


def stored(storage: MemoryStorage) -> BlobV2:
    blob = parse_blob(storage.get("nse:blob") or "")
    assert isinstance(blob, BlobV2)
    return blob


def test_each_slot_opens_alone(passphrase: Passphrase) -> None:
    """A key with two slots opens by either protector, and only then."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        info = nse.generate(recovery=passphrase)
        assert [slot.type for slot in nse.slots()] == ["raw", "passphrase"]
    with NSE(storage=storage) as nse:
        assert nse.locked
        assert nse.get_public_key() == info.pubkey
        with pytest.raises(NSEError) as raised:
            nse.sign(EVENT)
        assert raised.value.code is NSEErrorCode.AUTH_FAILED
        nse.unlock(passphrase)
        assert verify(nse.sign(EVENT)).pubkey == info.pubkey
    with NSE(MASTER, storage) as nse:
        assert nse.sign(EVENT).pubkey == info.pubkey


def test_add_and_remove(passphrase: Passphrase) -> None:
    """A passphrase is changed by adding the new slot and removing the old one."""
    storage = MemoryStorage()
    new = Passphrase("battery staple", ScryptCost(log_n=4))
    with NSE(storage=storage, protector=passphrase) as nse:
        nse.generate()
        assert nse.add_slot(new).id == "k2"
        nse.remove_slot("k1")
        nse.sign(EVENT)
    with NSE(storage=storage, protector=passphrase) as nse, pytest.raises(NSEError) as raised:
        nse.sign(EVENT)
    assert raised.value.code is NSEErrorCode.AUTH_FAILED
    with NSE(storage=storage, protector=new) as nse:
        nse.sign(EVENT)
        assert nse.add_slot(passphrase).id == "k1"
    new.close()


def test_last_slot_stays(passphrase: Passphrase) -> None:
    """The last slot can't be removed, nor one that is not there."""
    with NSE(protector=passphrase) as nse:
        nse.generate()
        for slot_id, code in (("k1", NSEErrorCode.AUTH_FAILED), ("k9", NSEErrorCode.KEY_NOT_FOUND)):
            with pytest.raises(NSEError) as raised:
                nse.remove_slot(slot_id)
            assert raised.value.code is code
        nse.sign(EVENT)


def test_rotation_replaces_the_data_key(passphrase: Passphrase) -> None:
    """After a rotation every slot opens still, and who kept the old data key opens nothing."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        nse.generate(recovery=passphrase)
        before = stored(storage)
        nse.sign(EVENT)
        old = bytes(nse._vault.data_key)
        nse.rotate(passphrase)
        after = stored(storage)
        nse.sign(EVENT)
        assert len({old, bytes(nse._vault.data_key), bytes(32)}) == 3
    assert (before.gen, after.gen) == (1, 2)
    assert {slot.ct for slot in before.slots}.isdisjoint(slot.ct for slot in after.slots)
    for protector in (passphrase, MasterKey(MASTER)):
        with NSE(storage=storage, protector=protector) as nse:
            assert nse.sign(EVENT).pubkey == before.pubkey


def test_rotation_drops_no_slot(passphrase: Passphrase) -> None:
    """A rotation without the protector of every slot is refused, and the key works as before."""
    storage = MemoryStorage()
    wrong = Passphrase("mistyped", CHEAP)
    with NSE(MASTER, storage) as nse:
        nse.generate(recovery=passphrase)
        before = storage.get("nse:blob")
        for given in ((), (wrong,)):
            with pytest.raises(NSEError) as raised:
                nse.rotate(*given)
            assert raised.value.code is NSEErrorCode.AUTH_FAILED
        assert storage.get("nse:blob") == before
        nse.sign(EVENT)
    wrong.close()


def test_device_alone_is_refused(passphrase: Passphrase) -> None:
    """A key that would be lost with a device is made only when that is said to be wanted."""
    device = Device()
    with NSE(protector=device) as nse:
        with pytest.raises(NSEError) as raised:
            nse.generate()
        assert raised.value.code is NSEErrorCode.HARDWARE_UNAVAILABLE
        assert not nse.exists()
        assert nse.generate(unrecoverable=True).hardware_backed
        nse.add_slot(passphrase)
        assert not nse.info().hardware_backed
        with pytest.raises(NSEError):
            nse.remove_slot("k2")
        nse.remove_slot("k2", unrecoverable=True)


def test_slot_is_tried_before_it_is_relied_on() -> None:
    """A device that does not find again what it made gets no key: none is stored."""

    class Forgetful(Device):
        def recover(self, pubkey: str, params: object, key: memoryview) -> None:
            fill_random(key)

    with NSE(protector=Forgetful()) as nse:
        with pytest.raises(NSEError) as raised:
            nse.generate(unrecoverable=True)
        assert raised.value.code is NSEErrorCode.AUTH_FAILED
        assert not nse.exists()


def test_lost_device_does_not_lose_the_key(passphrase: Passphrase) -> None:
    """With the device gone, the recovery slot signs."""
    device = Device()
    storage = MemoryStorage()
    with NSE(storage=storage, protector=device) as nse:
        pubkey = nse.generate(recovery=passphrase).pubkey
    device.plugged_in = False
    with NSE(storage=storage, protector=device) as nse:
        with pytest.raises(NSEError) as raised:
            nse.sign(EVENT)
        assert raised.value.code is NSEErrorCode.HARDWARE_UNAVAILABLE
        nse.unlock(passphrase)
        assert nse.sign(EVENT).pubkey == pubkey


def test_failed_change_leaves_the_key_open(passphrase: Passphrase) -> None:
    """A slot that can't be made leaves file and enclave as they were."""
    device = Device()
    device.plugged_in = False
    storage = MemoryStorage()
    with NSE(storage=storage) as nse:
        with NSE(MASTER, storage) as maker:
            maker.generate(recovery=passphrase)
        nse.unlock(passphrase)
        before = storage.get("nse:blob")
        with pytest.raises(NSEError):
            nse.add_slot(device)
        assert storage.get("nse:blob") == before
        nse.sign(EVENT)


def test_every_flipped_bit_is_refused() -> None:
    """No file that differs in one bit signs, or even says a public key that is not the key's."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        pubkey = nse.generate().pubkey
        extra = Passphrase("x" * 8, CHEAP)
        nse.add_slot(extra)
        extra.close()
    text = (storage.get("nse:blob") or "").encode()
    taken: list[tuple[int, int]] = []
    codes = set()
    master = MasterKey(MASTER)
    with NSE(storage=storage, protector=master) as nse:
        for index in range(len(text)):
            for bit in range(8):
                changed = bytearray(text)
                changed[index] ^= 1 << bit
                storage.put("nse:blob", changed.decode("latin-1"))
                try:
                    nse.sign(EVENT)
                except NSEError as error:
                    codes.add(error.code)
                else:
                    taken.append((index, bit))
        storage.put("nse:blob", text.decode())
        assert nse.sign(EVENT).pubkey == pubkey
    assert taken == []
    assert codes <= {
        NSEErrorCode.STORAGE_ERROR,
        NSEErrorCode.DECRYPTION_FAILED,
        NSEErrorCode.KEY_NOT_FOUND,
    }


def _slot(change: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda blob: blob["slots"][0].update(change)


def _swap_slot_ciphertexts(blob: dict[str, Any]) -> None:
    one, two = blob["slots"]
    one["ct"], two["ct"] = two["ct"], one["ct"]


TAMPERING: dict[str, Callable[[dict[str, Any]], None]] = {
    "pubkey": lambda blob: blob.update(pubkey=SecretKey.generate().pubkey),
    "created_at": lambda blob: blob.update(created_at=0),
    "hardware_backed": lambda blob: blob.update(hardware_backed=True),
    "gen": lambda blob: blob.update(gen=7),
    "version 1": lambda blob: blob.update(version=1),
    "version 99": lambda blob: blob.update(version=99),
    "version true": lambda blob: blob.update(version=True),
    "slot salt": _slot({"params": {"salt": "00" * 32}}),
    "slot parameter added": _slot({"params": {"salt": "00" * 32, "x": 1}}),
    "slot field added": _slot({"x": 1}),
    "slot flags": _slot({"hw": True, "bound": True}),
    "slot type": _slot({"type": "tpm9"}),
    "slot ciphertexts swapped": _swap_slot_ciphertexts,
    "slot removed": lambda blob: blob["slots"].pop(),
    "slot doubled": lambda blob: blob["slots"].append(blob["slots"][0]),
    "slots reversed": lambda blob: blob["slots"].reverse(),
    "no slots": lambda blob: blob.update(slots=[]),
    "slots not a list": lambda blob: blob.update(slots=7),
    "many slots": lambda blob: blob.update(
        slots=[{**blob["slots"][0], "id": f"k{number}"} for number in range(99)]
    ),
    "mac": lambda blob: blob.update(mac="00" * 28),
    "nested": lambda blob: blob.update(slots=[[[[[]]]]]),
    "huge number": lambda blob: blob.update(gen=2**64),
    "float": lambda blob: blob.update(created_at=1.5),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_refused(name: str, passphrase: Passphrase) -> None:
    """A changed file, well-formed or not, is one NSEError and no signature."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        nse.generate(recovery=passphrase)
        blob = json.loads(storage.get("nse:blob") or "")
        TAMPERING[name](blob)
        changed = json.dumps(blob, separators=(",", ":"), sort_keys=True)
        storage.put("nse:blob", changed)
        with pytest.raises(NSEError) as raised:
            nse.sign(EVENT)
    assert "\n" not in str(raised.value)
    assert storage.get("nse:blob") == changed


def test_damaged_slot_does_not_lose_the_key(passphrase: Passphrase) -> None:
    """A key with a damaged slot is refused, and rescued by a slot that is whole."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        pubkey = nse.generate(recovery=passphrase).pubkey
        blob = json.loads(storage.get("nse:blob") or "")
        blob["slots"][0]["ct"] = "00" * 48
        damaged = json.dumps(blob, separators=(",", ":"), sort_keys=True)
        storage.put("nse:blob", damaged)
        wrong = Passphrase("wrong", CHEAP)
        for protector in (MasterKey(MASTER), wrong):
            with pytest.raises(NSEError):
                nse.rescue(protector)
        wrong.close()
        assert storage.get("nse:blob") == damaged
        with NSE(storage=storage, protector=passphrase) as by_passphrase:
            with pytest.raises(NSEError) as raised:
                by_passphrase.sign(EVENT)
            assert raised.value.code is NSEErrorCode.DECRYPTION_FAILED
            by_passphrase.rescue(passphrase)
            assert [slot.type for slot in by_passphrase.slots()] == ["passphrase"]
            assert by_passphrase.sign(EVENT).pubkey == pubkey


@pytest.mark.parametrize("field", ["pubkey", "gen", "ciphertext", "created_at"])
def test_rescue_trusts_no_changed_key(field: str) -> None:
    """What says whose the key is can't be rescued: it may have been changed on purpose."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        nse.generate()
        blob = json.loads(storage.get("nse:blob") or "")
        blob[field] = {"pubkey": SecretKey.generate().pubkey, "ciphertext": "00" * 48}.get(field, 7)
        storage.put("nse:blob", json.dumps(blob, separators=(",", ":"), sort_keys=True))
        with pytest.raises(NSEError):
            nse.rescue(MasterKey(MASTER))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(data=st.data())
@settings(deadline=None)
def test_any_file_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever JSON stands in the place of any field, reading it raises NSEError alone."""
    blob = json.loads(VALID)
    slot = blob["slots"][0]
    where = data.draw(
        st.sampled_from([*((blob, name) for name in blob), *((slot, n) for n in slot)])
    )
    where[0][where[1]] = data.draw(_JSON)
    text = json.dumps(blob, separators=(",", ":"), sort_keys=True)
    for candidate in (text, data.draw(st.text()), text[: data.draw(st.integers(0, len(text)))]):
        with contextlib.suppress(NSEError):
            parse_blob(candidate)


def _valid() -> str:
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        nse.generate()
    return storage.get("nse:blob") or ""


VALID = _valid()


def test_ciphertext_of_another_key_is_refused() -> None:
    """Sealed keys can't be exchanged between two files of one master key."""
    one, two = MemoryStorage(), MemoryStorage()
    for storage in (one, two):
        with NSE(MASTER, storage) as nse:
            nse.generate()
    mine, other = (json.loads(storage.get("nse:blob") or "") for storage in (one, two))
    mine |= {"ciphertext": other["ciphertext"], "iv": other["iv"]}
    one.put("nse:blob", json.dumps(mine, separators=(",", ":"), sort_keys=True))
    with NSE(MASTER, one) as nse, pytest.raises(NSEError) as raised:
        nse.sign(EVENT)
    assert raised.value.code is NSEErrorCode.DECRYPTION_FAILED


@pytest.mark.parametrize(
    "params",
    [
        {"m": 2**31},
        {"m": 1},
        {"t": 10**6},
        {"p": 200},
        {"m": True},
        {"kdf": "md5"},
        {"salt": ""},
        {"kdf": "scrypt"},
    ],
)
def test_kdf_costs_of_a_file_are_bounded(params: dict[str, object], passphrase: Passphrase) -> None:
    """A hostile file can't make this machine allocate or compute beyond the bounds."""
    storage = MemoryStorage()
    with NSE(storage=storage, protector=passphrase) as nse:
        nse.generate()
        blob = json.loads(storage.get("nse:blob") or "")
        blob["slots"][0]["params"] |= params
        storage.put("nse:blob", json.dumps(blob, separators=(",", ":"), sort_keys=True))
        with pytest.raises(NSEError) as raised:
            nse.sign(EVENT)
    assert raised.value.code is NSEErrorCode.STORAGE_ERROR


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text.replace(",", ", "),
        lambda text: text + "\n",
        lambda text: text.replace('"gen":1', '"gen":7,"gen":1'),
        lambda text: text.replace('"raw"', '"\\u0072aw"'),
        lambda text: text.replace('"gen":1,', "").replace('{"c', '{"gen":1,"c', 1),
    ],
)
def test_one_spelling_alone_is_read(spell: Callable[[str], str]) -> None:
    """The same fields in other JSON are refused: what was not written here is not trusted."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        nse.generate()
        text = storage.get("nse:blob") or ""
        changed = spell(text)
        assert changed != text
        assert json.loads(changed) == json.loads(text)
        storage.put("nse:blob", changed)
        with pytest.raises(NSEError) as raised:
            nse.sign(EVENT)
    assert raised.value.code is NSEErrorCode.STORAGE_ERROR


def test_version_1_key_under_another_name_is_refused() -> None:
    """Without associated data a version 1 key can be moved to another pubkey; it opens nothing."""
    one, two = MemoryStorage(), MemoryStorage()
    for storage in (one, two):
        with NSE(MASTER, storage) as nse:
            nse.generate(blob_version=1)
    mine, other = (json.loads(storage.get("nse:blob") or "") for storage in (one, two))
    one.put("nse:blob", json.dumps(mine | {"pubkey": other["pubkey"], "npub": other["npub"]}))
    with NSE(MASTER, one) as nse, pytest.raises(NSEError) as raised:
        nse.shared_x(other["pubkey"])
    assert raised.value.code is NSEErrorCode.DECRYPTION_FAILED


def test_migration_keeps_the_key(tmp_path: Path) -> None:
    """A version 1 key becomes version 2 only when asked, is the same key, and leaves no backup."""
    storage = FileStorage(tmp_path)
    with NSE(MASTER, storage) as nse:
        info = nse.generate(blob_version=1)
        nse.sign(EVENT)
        assert json.loads(storage.get("nse:blob") or "")["version"] == 1
        assert nse.migrate() == info
        assert json.loads(storage.get("nse:blob") or "")["version"] == 2
        assert nse.sign(EVENT).pubkey == info.pubkey
        assert storage.keys() == ["nse:blob"]
        before = storage.get("nse:blob")
        nse.migrate()
        assert storage.get("nse:blob") == before


class Unreadable(MemoryStorage):
    """Loses what is written as version 2."""

    def get(self, key: str, /) -> str | None:
        value = super().get(key)
        return value[:-9] if value and '"version":2' in value else value


def test_migration_keeps_the_old_file_until_the_new_one_signs() -> None:
    """When the new file does not sign, the old one is still there."""
    storage = Unreadable()
    with NSE(MASTER, storage) as nse:
        nse.generate(blob_version=1)
        old = storage.get("nse:blob")
        with pytest.raises(NSEError):
            nse.migrate()
    assert storage.get("nse:v1.bak:default") == old


def test_version_1_has_no_slots(passphrase: Passphrase) -> None:
    """Slots are refused for a version 1 key, and a passphrase does not open it."""
    storage = MemoryStorage()
    with NSE(MASTER, storage) as nse:
        nse.generate(blob_version=1)
        assert nse.slots() == ()
        with pytest.raises(NSEError):
            nse.add_slot(passphrase)
    with NSE(storage=storage, protector=passphrase) as nse, pytest.raises(NSEError):
        nse.sign(EVENT)
    with NSE(storage=MemoryStorage(), protector=passphrase) as nse, pytest.raises(NSEError):
        nse.generate(blob_version=1)
