"""blob.py: a stored key is refused where it is read, whatever field is wrong."""

import json
from typing import Any

import pytest

from bunker_signer.nse import NSE, MemoryStorage, NSEError, NSEErrorCode
from bunker_signer.nse.blob import MAX_PARAMS, parse_blob
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
    assert parse_blob(json.dumps(blob, separators=(",", ":"))).to_json() == stored
    blob["slots"][0][field] = value
    with pytest.raises(NSEError, match=said) as raised:
        parse_blob(json.dumps(blob, separators=(",", ":"), sort_keys=True))
    assert raised.value.code is NSEErrorCode.STORAGE_ERROR
