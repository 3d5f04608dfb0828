"""Texts that a person types or an app gives: URIs, keys, relays."""

import json
from dataclasses import asdict
from typing import Any

from bunker_core.nips.bunker_uri import parse_bunker_uri, parse_nostrconnect_uri
from bunker_core.nips.key_text import parse_key_text
from bunker_core.nips.nip19 import encode_npub, encode_nsec
from bunker_core.nips.relay_url import parse_relay_url
from phone.export.common import PEER, USER, outcome

# NIP-49's own example
NCRYPTSEC = (
    "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcxfqtd67p9m0w57lspw8gsq6yphnm8623nsl8"
    "xn9j4jdzz84zm3frztj3z7s35vpzmqf6ksu8r89qk5z2zxfmu5gv8th8wclt0h4p"
)


def uris() -> list[dict[str, Any]]:
    """Return nostrconnect URIs of the client libraries, and broken ones."""
    relay = "wss%3A%2F%2Frelay.example"
    old = "%7B%22name%22%3A%22Old%22%2C%22perms%22%3A%22sign_event%3A1%22%7D"
    texts = [
        f"nostrconnect://{PEER}?relay={relay}&secret=abc&name=Notes&perms=sign_event%3A1",
        f"nostrconnect://{PEER}/?relay={relay}&secret=abc&metadata={old}",
        f"nostrconnect:{PEER}?relay={relay}&relay={relay}&secret=abc&image=&url=&name=&perms=",
        f"nostrconnect://{PEER}?relay={relay}&secret=abc&name=My%2520App&url=https%3A%2F%2Fx",
        f"nostrconnect://{encode_npub(PEER)}?relay={relay}&secret=abc",
        f"nostrconnect://{PEER}?relay={relay}",
        f"nostrconnect://{PEER}?secret=abc",
        f"nostrconnect://{PEER}?relay=http%3A%2F%2Fx&secret=abc",
        "nostrconnect://nobody?relay=wss://x&secret=abc",
        f"bunker://{PEER}?relay={relay}&secret=abc",
        "",
        f"nostrconnect://{PEER}?secret=abc" + f"&relay={relay}%2F" * 3,
        f"nostrconnect://{PEER}?relay=http%3A%2F%2Fx&relay={relay}&relay=wss%3A%2F%2F&secret=abc",
    ]
    return [{"text": text, **outcome(lambda text=text: _uri(text))} for text in texts]


def bunker_uris() -> list[dict[str, Any]]:
    """Return bunker URIs as signers show them, and broken ones."""
    relay = "wss%3A%2F%2Frelay.example"
    texts = [
        f"bunker://{PEER}?relay={relay}&secret=abc",
        f" bunker:{PEER}/?relay={relay}&relay={relay}%2F&relay=wss://two.example ",
        f"BUNKER://{encode_npub(PEER)}?relay={relay}&secret=",
        f"bunker://{PEER}?secret=abc",
        f"bunker://{PEER}?relay={relay}&secret=a%07b",
        f"bunker://{PEER}?relay={relay}&secret=" + "x" * 257,
        f"bunker://{PEER}?" + "&".join(f"relay=wss://{n}.example" for n in range(21)),
        f"bunker://{PEER[:-1]}?relay={relay}",
        f"nostrconnect://{PEER}?relay={relay}&secret=abc",
        "bunker://" + "x" * 17_000,
        f"bunker://{PEER}?relay=relay.example&relay={relay}&relay=wss://[&secret=abc",
        f"bunker://{PEER}?" + "&".join(f"relay=wss://{n}.example" for n in range(20)) + "&relay=x",
        f"bunker://{encode_npub(PEER)}@relay.example",
        f"bunker://{PEER}@ws://relay.example/?secret=abc",
        f"bunker://{PEER}@?relay={relay}",
        f"bunker://{PEER}?relay=ws%253A%252F%252F%255B%253A%253A1%255D%253A7777%252Fa&secret=%2B",
    ]
    return [{"text": text, **outcome(lambda text=text: _bunker_uri(text))} for text in texts]


def key_texts() -> list[dict[str, Any]]:
    """Return private keys in the forms that people have, and what is none."""
    secret = bytearray(range(1, 33))
    nsec, ncryptsec = encode_nsec(secret), NCRYPTSEC
    words = "leader monkey parrot ring guide accident before fence cannon height naive bean"
    texts = [
        *(nsec, nsec.upper(), f" nostr:{nsec}\n", f"\ufeff{nsec}", f'"{nsec}"', f"“{nsec}”"),
        *(secret.hex(), f"0x{secret.hex().upper()}", ncryptsec, f"nostr:{ncryptsec}"),
        *(ncryptsec.upper(), json.dumps({"npub": "npub1", "nsec": nsec})),
        *(json.dumps({"nsec": nsec, "ncryptsec": ncryptsec}), f"'{words}'", f"web+nostr:{nsec}"),
        *("", "x", f"{nsec[:-1]}q", f"{ncryptsec[:-1]}q", secret.hex()[1:], "nsec1", "{", "{}"),
        *(encode_npub(USER), "note1x", f"bunker://{PEER}?relay=wss://x", "one two"),
    ]
    return [{"text": text, **outcome(lambda text=text: _key_text(text))} for text in texts]


def relay_urls() -> list[dict[str, Any]]:
    """Return relay URLs with their normal forms."""
    texts = [
        "wss://Relay.Example/",
        "ws://localhost:80",
        "wss://x:443/path?q=1",
        "ws://[::1]:7777/",
        "http://x",
        "wss://u:p@x",
        "wss://x#f",
        "wss://",
        "wss://x y",
        "x",
    ]
    return [{"text": text, **outcome(lambda text=text: parse_relay_url(text))} for text in texts]


def _key_text(text: str) -> dict[str, Any]:
    found = parse_key_text(text.encode())
    return {"secret": bytes(found.secret or bytes(32)).hex(), "ncryptsec": found.ncryptsec}


def _bunker_uri(text: str) -> dict[str, Any]:
    found = parse_bunker_uri(text)
    return {
        "remoteSigner": found.remote_signer_pubkey,
        "relays": list(found.relays),
        "secret": found.secret or "",
    }


def _uri(text: str) -> dict[str, Any]:
    found = parse_nostrconnect_uri(text)
    return {
        "client": found.client_pubkey,
        "relays": list(found.relays),
        "secret": found.secret,
        "permissions": [{"method": p.method, "param": p.param} for p in found.permissions],
        "metadata": asdict(found.metadata),
    }
