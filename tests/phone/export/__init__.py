"""Write the tables that the Python signer and the phone's JavaScript both have to agree with.

`python -m phone.export` (in tests/) writes them anew; `test_tables.py` fails when they are old.
"""

import json
from pathlib import Path
from typing import Any

from bunker_core.describe import LANGUAGES
from bunker_core.keys import SecretKey
from bunker_core.nips import nip04, nip44, nip49
from bunker_core.nips.nip46 import Method
from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from bunker_signer.policy import FREE, Profile
from phone.export.common import PEER
from phone.export.descriptions import descriptions
from phone.export.policy import audit, policy, profile
from phone.export.requests import (
    events,
    messages,
    metadata,
    operations,
    permissions,
    requests,
    responses,
)
from phone.export.texts import bunker_uris, key_texts, relay_urls, uris

TABLES = Path(__file__).parents[1] / "tables"


def sealed() -> dict[str, Any]:
    """Return what holds fresh randomness, written once: a sealed key and encrypted texts."""
    secret = bytearray(32)
    secret[31] = 3
    passphrase = Passphrase("Pässword ﬁ", Argon2(memory_kib=64, passes=1))
    storage = MemoryStorage()
    with NSE(storage=storage, protector=passphrase) as key:
        pubkey = key.import_key(bytearray(secret)).pubkey
    blob = storage.get("nse:blob")
    mine = SecretKey(bytes(secret))
    shared = mine.shared_x(PEER)
    text = "grüße"
    return {
        "blob": {"blob": blob, "passphrase": "Pässword ﬁ", "pubkey": pubkey},
        "encrypted": {
            "secret": secret.hex(),
            "peer": PEER,
            "text": text,
            "nip04": nip04.encrypt(text, shared),
            "nip44": nip44.encrypt(text, nip44.conversation_key(shared)),
            "ncryptsec": nip49.encrypt(secret, "ÅΩẛ̣", log_n=4),
            "passphrase": "ÅΩẛ̣",
        },
    }


def tables() -> dict[str, Any]:
    """Return every table by the name of its file."""
    return {
        "languages": list(LANGUAGES),
        "methods": {
            "all": sorted(item.value for item in Method),
            "free": sorted(item.value for item in FREE),
        },
        "policy": policy(),
        "profiles": {item.value: profile(item) for item in Profile},
        "requests": requests(),
        "responses": responses(),
        "permissions": permissions(),
        "metadata": metadata(),
        "operations": operations(),
        "events": events(),
        "uris": uris(),
        "key_texts": key_texts(),
        "messages": messages(),
        "bunker_uris": bunker_uris(),
        "relay_urls": relay_urls(),
        "audit": audit(),
        "descriptions": descriptions(),
    }


def write() -> None:
    """Write all of it."""
    fresh = sealed() if not (TABLES / "blob.json").exists() else {}
    for name, value in (tables() | fresh).items():
        (TABLES / f"{name}.json").write_text(dump(value))


def dump(value: Any) -> str:
    """Return a table as it is stored."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=True) for row in value) + "\n]\n"
    return json.dumps(value, ensure_ascii=True, indent=1) + "\n"
