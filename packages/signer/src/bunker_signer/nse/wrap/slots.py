"""What is done with the slots of a version 2 key: the data key comes and goes through them.

Every function works on a vault whose caller holds the lock and calls `vault.end` afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bunker_core.nips.nip19 import encode_npub
from bunker_signer.nse.blob import MAX_SLOTS, BlobV2, Slot
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import fill_random
from bunker_signer.nse.vault import Vault, authenticate, check_authentic, open_into, seal
from bunker_signer.nse.wrap import Protector

_UNSEALED: Final = "0" * 96
_NO_NONCE: Final = "0" * 24
_NO_MAC: Final = "0" * 56


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """What a person is told of a slot."""

    id: str
    type: str
    hardware: bool
    device_bound: bool


def new_blob(vault: Vault, pubkey: str, created_at: int, protectors: Sequence[Protector]) -> BlobV2:
    """Seal the vault's `secret` under a fresh data key with one slot for each protector."""
    fill_random(vault.data_key)
    slots = tuple(
        _new_slot(vault, pubkey, f"k{number}", protector)
        for number, protector in enumerate(protectors, 1)
    )
    return _sealed(vault, _unsealed(pubkey, created_at, gen=1, slots=slots))


def open_data_key(vault: Vault, blob: BlobV2, protector: Protector) -> None:
    """Have the data key in the vault by whichever slot `protector` opens; raises NSEError."""
    open_any_slot(vault, blob, protector)
    check_authentic(vault.data_key, bytes.fromhex(blob.mac), blob.mac_aad)


def open_any_slot(vault: Vault, blob: BlobV2, protector: Protector) -> Slot:
    """As `open_data_key`, without a look at the rest of the file; return the slot that opened."""
    candidates = [slot for slot in blob.slots if slot.type == protector.type]
    if not candidates:
        types = ", ".join(sorted({slot.type for slot in blob.slots}))
        raise NSEError(
            f"the key has no slot of type {protector.type!r}: it opens by {types}",
            NSEErrorCode.KEY_NOT_FOUND,
        )
    failures: list[NSEError] = []
    for slot in candidates:
        try:
            _open_slot(vault, blob.pubkey, slot, protector, vault.data_key)
        except NSEError as error:
            failures.append(error)
        else:
            return slot
    raise failures[0]


def with_slot(vault: Vault, blob: BlobV2, protector: Protector) -> BlobV2:
    """Return the key with one more slot. Needs the data key and the opened secret."""
    if len(blob.slots) >= MAX_SLOTS:
        raise NSEError(f"the key has {MAX_SLOTS} slots already", NSEErrorCode.STORAGE_ERROR)
    taken = {slot.id for slot in blob.slots}
    name = next(f"k{number}" for number in range(1, MAX_SLOTS + 2) if f"k{number}" not in taken)
    slot = _new_slot(vault, blob.pubkey, name, protector)
    return _sealed(vault, _with_slots(blob, (*blob.slots, slot)))


def without_slot(vault: Vault, blob: BlobV2, slot_id: str) -> BlobV2:
    """Return the key less one slot; raises NSEError for the last one or one that is not there."""
    left = tuple(slot for slot in blob.slots if slot.id != slot_id)
    if len(left) == len(blob.slots):
        raise NSEError(f"the key has no slot {slot_id!r}", NSEErrorCode.KEY_NOT_FOUND)
    if not left:
        raise NSEError("the last slot can't be removed", NSEErrorCode.AUTH_FAILED)
    return _sealed(vault, _with_slots(blob, left))


def rotated(vault: Vault, blob: BlobV2, protectors: Sequence[Protector]) -> BlobV2:
    """Return the key under a fresh data key, every slot made anew by the protector that opens it.

    The protectors are tried on the old slots first: a mistyped passphrase must not end up in one.
    """
    pairs: list[tuple[Slot, Protector]] = []
    for slot in blob.slots:
        pairs.append((slot, _opener(vault, blob.pubkey, slot, protectors)))
    fill_random(vault.data_key)
    slots = tuple(_new_slot(vault, blob.pubkey, slot.id, protector) for slot, protector in pairs)
    return _sealed(vault, _with_slots(replace(blob, gen=blob.gen + 1), slots))


def rescued(vault: Vault, blob: BlobV2, protector: Protector) -> BlobV2:
    """Return a damaged key anew, with the one slot that `protector` opened. Needs the secret.

    The other slots are dropped: which of them is the damaged one, or put there by somebody else,
    nobody can tell.
    """
    fill_random(vault.data_key)
    slot = _new_slot(vault, blob.pubkey, "k1", protector)
    return _sealed(vault, _with_slots(replace(blob, gen=blob.gen + 1), (slot,)))


def check_recoverable(blob: BlobV2) -> None:
    """Raise NSEError when every slot is lost with a device or a service."""
    if all(slot.bound for slot in blob.slots):
        raise NSEError(
            "losing the device would lose the key: add a recovery slot (a passphrase or a master "
            "key), or say that none is wanted",
            NSEErrorCode.HARDWARE_UNAVAILABLE,
        )


def slot_infos(blob: BlobV2) -> tuple[SlotInfo, ...]:
    return tuple(SlotInfo(slot.id, slot.type, slot.hw, slot.bound) for slot in blob.slots)


def _opener(vault: Vault, pubkey: str, slot: Slot, protectors: Sequence[Protector]) -> Protector:
    for protector in protectors:
        if protector.type == slot.type:
            try:
                _open_slot(vault, pubkey, slot, protector, vault.scratch)
            except NSEError:
                continue
            return protector
    raise NSEError(
        f"rotation needs what opens slot {slot.id} ({slot.type}): give it, or remove the slot",
        NSEErrorCode.AUTH_FAILED,
    )


def _new_slot(vault: Vault, pubkey: str, name: str, protector: Protector) -> Slot:
    """Wrap the data key for `protector`, and open the slot again before it is relied on."""
    params = dict(protector.create(pubkey, vault.wrapping_key))
    slot = Slot(
        id=name,
        type=protector.type,
        hw=protector.hardware,
        bound=protector.device_bound,
        params=params,
        iv=_NO_NONCE,
        ct=_UNSEALED,
    )
    nonce, sealed = seal(vault.wrapping_key, vault.data_key, slot.aad(pubkey))
    slot = replace(slot, iv=nonce.hex(), ct=sealed.hex())
    _open_slot(vault, pubkey, slot, protector, vault.scratch)
    return slot


def _open_slot(
    vault: Vault, pubkey: str, slot: Slot, protector: Protector, out: memoryview
) -> None:
    protector.recover(pubkey, slot.params, vault.wrapping_key)
    try:
        open_into(
            vault.wrapping_key,
            bytes.fromhex(slot.iv),
            bytes.fromhex(slot.ct),
            slot.aad(pubkey),
            out,
        )
    except NSEError:
        # AES-GCM can't tell the two apart. The reference's code for a wrong master key stays.
        wrong = NSEErrorCode.DECRYPTION_FAILED if slot.type == "raw" else NSEErrorCode.AUTH_FAILED
        raise NSEError(
            f"slot {slot.id} does not open: wrong {_SECRETS.get(slot.type, 'key')}, or the file "
            "was changed",
            wrong,
        ) from None


_SECRETS: Final = {"raw": "master key", "passphrase": "passphrase"}


def _unsealed(pubkey: str, created_at: int, gen: int, slots: tuple[Slot, ...]) -> BlobV2:
    return BlobV2(
        version=2,
        ciphertext=_UNSEALED,
        iv=_NO_NONCE,
        pubkey=pubkey,
        npub=encode_npub(pubkey),
        created_at=created_at,
        hardware_backed=all(slot.hw for slot in slots),
        gen=gen,
        slots=slots,
        mac=_NO_MAC,
    )


def _with_slots(blob: BlobV2, slots: tuple[Slot, ...]) -> BlobV2:
    return replace(blob, slots=slots, hardware_backed=all(slot.hw for slot in slots))


def _sealed(vault: Vault, blob: BlobV2) -> BlobV2:
    nonce, sealed = seal(vault.data_key, vault.secret, blob.aad)
    blob = replace(blob, iv=nonce.hex(), ciphertext=sealed.hex())
    return replace(blob, mac=authenticate(vault.data_key, blob.mac_aad).hex())
