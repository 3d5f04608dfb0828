"""blob.py: a stored key is refused where it is read, whatever field is wrong."""

import json
from typing import Any

import pytest

from bunker_core.event import MAX_TIMESTAMP
from bunker_signer.nse import NSE, MemoryStorage, NSEError, NSEErrorCode
from bunker_signer.nse.blob import MAX_PARAMS, MAX_SLOTS, Slot, parse_blob
from bunker_signer.nse.storage import MAX_BLOB_BYTES
from bunker_signer.nse.wrap.master_key import MasterKey


@pytest.fixture(scope="module")
def stored() -> str:
    """A version 2 key with one slot."""
    storage = MemoryStorage()
    with NSE(storage=storage, protector=MasterKey("5f" * 32)) as nse:
        nse.generate()
        (text,) = map(storage.get, storage.keys())
    assert text is not None
    return text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("id", "", "no id or no type"),
        ("type", "x" * 65, "no id or no type"),
        ("type", "raw\x1b[2J", "no id or no type"),  # it is shown at a terminal
        ("id", 1, "no id or no type"),
        ("hw", 0, "flag is not true or false"),
        ("bound", "no", "flag is not true or false"),
        ("params", [], "parameters are not an object"),
        (
            "params",
            dict.fromkeys(map(str, range(MAX_PARAMS + 1)), 1),
            "parameters are not an object",
        ),
        ("params", {"salt": None}, "neither text nor a whole number"),
        ("params", {"salt": True}, "neither text nor a whole number"),
        ("params", {"salt": ["a"]}, "neither text nor a whole number"),
        ("iv", "00", "iv or ct has the wrong length"),
        ("ct", "zz", "iv or ct has the wrong length"),
    ],
)
def test_a_wrong_field_of_a_slot_is_named(stored: str, field: str, value: Any, said: str) -> None:
    """Before anything is opened, and by what is wrong with it."""
    blob = json.loads(stored)
    assert parse_blob(_text(blob)).to_json() == stored
    blob["slots"][0][field] = value
    _refused(_text(blob), said)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("version", 3, "version 3 is not known"),
        ("version", "2", "no version"),
        ("pubkey", "AB" * 32, "pubkey is not 64 lower-case hex"),
        ("npub", "npub1", "npub"),
        ("iv", "00", "iv or ciphertext has the wrong length"),
        ("ciphertext", "00", "iv or ciphertext has the wrong length"),
        ("created_at", -1, "created_at"),
        ("created_at", MAX_TIMESTAMP + 1, "created_at"),
        ("created_at", True, "created_at"),
        ("hardware_backed", 0, "hardware_backed is not true or false"),
        ("hardware_backed", True, "hardware_backed is not what the slots say"),
        ("gen", 0, "gen is not a counter"),
        ("gen", 2**31, "gen is not a counter"),
        ("gen", True, "gen is not a counter"),
        ("slots", [], "no slots, or too many"),
        ("mac", "00", "mac has the wrong length"),
        ("surplus", 1, "missing or unknown"),
    ],
)
def test_a_wrong_field_of_a_key_is_named(stored: str, field: str, value: Any, said: str) -> None:
    """Whoever writes to the storage gets no further than this."""
    _refused(_text(json.loads(stored) | {field: value}), said)


def test_a_key_has_a_few_slots_with_an_id_each(stored: str) -> None:
    """As many as may be are read; one more, or two of one id, are not."""
    blob = json.loads(stored)
    (slot,) = blob["slots"]
    slots = [slot | {"id": f"s{number}"} for number in range(MAX_SLOTS + 1)]
    assert parse_blob(_text(blob | {"slots": slots[1:]})).version == 2
    _refused(_text(blob | {"slots": slots}), "no slots, or too many")
    _refused(_text(blob | {"slots": [slot, slot]}), "two slots have one id")


@pytest.mark.parametrize(
    "fields", [{"created_at": 0}, {"created_at": MAX_TIMESTAMP}, {"gen": 2**31 - 1}]
)
def test_the_least_and_the_most_are_read(stored: str, fields: dict[str, Any]) -> None:
    """A bound belongs to what it bounds; so do an id of one character and of 64."""
    blob = json.loads(stored) | fields
    for name in ("i", "i" * 64):
        blob["slots"][0]["id"] = name
        parse_blob(_text(blob))


def test_what_is_no_key_at_all_is_refused(stored: str) -> None:
    """Too large, no JSON, or a second spelling of the same, which would escape the mac."""
    for text, said in [
        (" " * (MAX_BLOB_BYTES + 1), "too large"),
        (" " * MAX_BLOB_BYTES, "not JSON"),
        ("[]", "not an object"),
        (stored.replace(":", ": "), "not in canonical form"),
    ]:
        _refused(text, said)


@pytest.mark.parametrize("value", [2**64, "\ud800"])
def test_a_slot_that_json_can_not_carry_is_refused(stored: str, value: str | int) -> None:
    """Before a protector's parameters are authenticated, and stored as they can't be read."""
    slot = Slot(**json.loads(stored)["slots"][0] | {"params": {"salt": value}})
    with pytest.raises(NSEError, match="JSON can't carry"):
        slot.aad("ab" * 32)


def _text(blob: dict[str, Any]) -> str:
    return json.dumps(blob, separators=(",", ":"), sort_keys=True)


def _refused(text: str, said: str) -> None:
    with pytest.raises(NSEError, match=said) as raised:
        parse_blob(text)
    assert raised.value.code is NSEErrorCode.STORAGE_ERROR
