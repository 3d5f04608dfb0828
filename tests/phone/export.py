"""Write the tables that the Python signer and the phone's JavaScript both have to agree with.

`python -m phone.export` (in tests/) writes them anew; `test_tables.py` fails when they are old.
"""

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bunker_core.describe import LANGUAGES, Asked, Description, Known, describe, texts_of
from bunker_core.describe.change import d_tag
from bunker_core.errors import BunkerError, InvalidRPC
from bunker_core.event import EventTemplate, event_id, parse_template
from bunker_core.keys import SecretKey
from bunker_core.nips import nip04, nip44, nip49
from bunker_core.nips.bunker_uri import parse_bunker_uri, parse_nostrconnect_uri
from bunker_core.nips.key_text import parse_key_text
from bunker_core.nips.nip19 import encode_npub, encode_nsec
from bunker_core.nips.nip46 import (
    Method,
    Request,
    Response,
    parse_message,
    parse_metadata,
    parse_permissions,
    parse_request,
)
from bunker_core.nips.relay_url import parse_relay_url
from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from bunker_signer.policy import (
    FREE,
    Action,
    Allow,
    Ask,
    Effect,
    Grant,
    Profile,
    Rate,
    Refuse,
    decide,
    profile_grants,
)
from bunker_signer.request.operation import Refused, hosts_of, read_operation
from bunker_signer.store.audit_chain import GENESIS, AuditEntry

TABLES = Path(__file__).parent / "tables"
USER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
PEER = "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
NOW = 1_800_000_000
# NIP-49's own example
NCRYPTSEC = (
    "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcxfqtd67p9m0w57lspw8gsq6yphnm8623nsl8"
    "xn9j4jdzz84zm3frztj3z7s35vpzmqf6ksu8r89qk5z2zxfmu5gv8th8wclt0h4p"
)
OWN = ("wss://relay.example", "ws://localhost:7777/x")  # relays that the signer runs on
LOGINS: tuple[tuple[int, list[list[str]]], ...] = (
    (22242, [["relay", "wss://Chat.Example:443/"], ["challenge", "x"]]),
    (22242, [["relay", "wss://relay.example"]]),
    (27235, [["u", "https://x.example/a"], ["method", "GET"]]),
    (27235, [["u", "https://u:p@x.example.:8443/a"]]),
    (27235, [["u", "https://x.example/a"], ["u", "https://y.example/"]]),
    (27235, [["u", "https://relay.example/manage"]]),
    (27235, [["u", "https://relay.example/manage"], ["u", "https://x.example/"]]),
    (27235, [["u", "http://127.0.0.1:7777/push"]]),
    (27235, [["u", "http://[::1]:7777/push"]]),
    (27235, [["u", "https://a b/"]]),
    (27235, [["u", "ünder.example"]]),
    (27235, []),
    (24242, [["t", "upload"], ["server", "Blossom.Example"]]),
    (24242, [["t", "upload"]]),
)


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


def profile(item: Profile) -> list[dict[str, Any]]:
    """Return what a profile grants."""
    return [_grant(grant) for grant in profile_grants(item)]


def policy() -> list[dict[str, Any]]:
    """Return 300 decisions over random grants, every branch among them."""
    draw = random.Random(46)
    rows = []
    for _ in range(300):
        action = _random_action(draw)
        grants = [_random_grant(draw) for _ in range(draw.randint(0, 4))]
        try:
            rule: dict[str, Any] = {"rule": action.rule}
        except ValueError:
            rule = {}
        rows.append(
            {
                "grants": list(map(_grant, grants)),
                "action": _action(action),
                **rule,
                "permission": str(action.permission),
                "now": NOW,
                "decision": _decision(grants, decide(grants, action, NOW)),
                "used": [_grant(grant.used(NOW)) for grant in grants],
            }
        )
    return rows


def requests() -> list[dict[str, Any]]:
    """Return requests as clients send them, and those that are none."""
    texts = [
        '{"id":"a","method":"ping","params":[]}',
        '{"id":"a","method":"ping"}',
        '{"id":7,"method":"ping","params":null}',
        '{"id":"","method":"","params":"x"}',
        '{"id":"a","method":"sign_event","params":[{"kind":1}]}',
        '{"id":"' + "x" * 256 + '","method":"ping"}',
        '{"id":"' + "x" * 257 + '","method":"ping"}',
        '{"id":true,"method":"ping"}',
        '{"id":1.5,"method":"ping"}',
        '{"method":"ping"}',
        '{"id":"a","method":7}',
        '{"id":"a"}',
        "[]",
        "7",
        "",
        "{",
    ]
    return [{"text": text, **_outcome(lambda text=text: _request(text))} for text in texts]


def responses() -> list[dict[str, Any]]:
    """Return the shapes of answers (wire rule R2)."""
    items = [
        Response("a", "pong"),
        Response(7, ""),
        Response("a", None),
        Response("a", error="denied"),
        Response("a", "auth_url", "https://x"),
        Response("ü", 'a "quoted"\n'),
    ]
    return [
        {"id": item.id, "result": item.result, "error": item.error, "text": item.to_json()}
        for item in items
    ]


def permissions() -> list[dict[str, Any]]:
    """Return permission lists."""
    texts = [
        "",
        "sign_event",
        "sign_event:1,sign_event:1, nip44_decrypt ,",
        "sign_event:,sign_event:x,sign_event:65536,sign_event:65535",
        "nip44v3_decrypt:30078/app,nip44v3_decrypt:app,nip44v3_encrypt,sign_event:27235:x.example",
        "nip44_encrypt:abc,ping:\u0007,__,a-b,é",
        ",".join(f"sign_event:{kind}" for kind in range(300)),
    ]
    return [
        {
            "text": text,
            "found": [{"method": p.method, "param": p.param} for p in parse_permissions(text)],
        }
        for text in texts
    ]


def metadata() -> list[dict[str, Any]]:
    """Return what clients say of themselves."""
    texts = [
        "",
        "7",
        "[]",
        '{"name":"Notes","url":"https://x","image":"i","more":1}',
        '{"name":7,"url":null}',
        '{"name":"a\\u0000b\\u202ec\\u200bd e"}',
        '{"name":"' + "n" * 300 + '"}',
    ]
    return [{"text": text, "found": asdict(parse_metadata(text))} for text in texts]


def operations() -> list[dict[str, Any]]:
    """Return what requests would have the key do."""
    event = '{"kind":1,"content":"hi","tags":[["t","x"]],"created_at":5}'
    cases: list[tuple[str, list[Any]]] = [
        ("sign_event", [event]),
        ("sign_event", [{"kind": 1}]),
        ("sign_event", [f'{{"kind":1,"pubkey":"{USER}","id":"x","sig":"y"}}']),
        ("sign_event", [f'{{"kind":1,"pubkey":"{PEER}"}}']),
        ("sign_event", ['{"kind":1,"pubkey":""}']),
        ("sign_event", ["{"]),
        ("sign_event", []),
        ("sign_event", ["7"]),
        ("sign_event", ['{"kind":65536}']),
        ("sign_event", ['{"kind":1,"tags":[1]}']),
        ("sign_event", ['{"kind":1,"tags":[["a",1]]}']),
        ("sign_event", ['{"kind":1,"created_at":-1}']),
        ("sign_event", ['{"kind":true}']),
        ("nip44_encrypt", [PEER, "text"]),
        ("nip44_decrypt", [encode_npub(PEER), "text"]),
        ("nip04_encrypt", ["nobody", "text"]),
        ("nip04_decrypt", []),
        ("sign_event", ['{"kind":1,"created_at":5.9}']),
        ("sign_event", ['{"kind":1,"content":"\\ud83d"}']),
        ("sign_event", [f'{{"kind":1,"pubkey":"{USER.upper()}"}}']),
        ("sign_event", ['{"kind":1,"pubkey":7}']),
        *(("sign_event", [{"kind": kind, "tags": tags}]) for kind, tags in LOGINS),
        ("nip44_encrypt", [f"02{PEER}", "text"]),
        ("nip44_encrypt", [PEER, ""]),
        ("nip44_encrypt", [PEER, "\ud83d"]),
        ("nip44_decrypt", [PEER, " text\n"]),
        ("nip44_decrypt", [PEER, "AAAA?iv=AAAA"]),
        ("nip04_decrypt", [PEER, "AAAA"]),
        ("nip04_decrypt", [PEER, " "]),
        ("nip44v3_encrypt", [PEER, 30078, "app", "aGk="]),
        ("nip44v3_encrypt", [PEER, "30078", "", "aGk="]),
        ("nip44v3_encrypt", [PEER, 30078, "app", "no base64"]),
        ("nip44v3_encrypt", [PEER, 65536, "app", "aGk="]),
        ("nip44v3_encrypt", [PEER, 1, "a\u202eb", "aGk="]),
        ("nip44v3_encrypt", [PEER, 1, "x" * 1025, "aGk="]),
        ("nip44v3_decrypt", [PEER, 1, "app"]),
        ("nip44v3_decrypt", [PEER, 1, "app", " payload "]),
        ("get_relays", []),
        ("create_account", ["x"]),
    ]
    rows = []
    for method, params in cases:
        row: dict[str, Any] = {"method": method, "params": params}
        try:
            found = read_operation(Request("a", method, tuple(params)), USER, NOW, hosts_of(OWN))
            row |= {
                "action": _action(found.action),
                "event_id": found.event_id,
                "text": found.text,
            }
        except Refused as refusal:
            row["refused"] = refusal.error
        rows.append(row)
    return rows


def events() -> list[dict[str, Any]]:
    """Return templates with the ids that they get, and those that are none."""
    values: list[Any] = [
        {"kind": 1, "content": "hello", "tags": [], "created_at": 1},
        {"kind": 0, "content": 'é 🎉 "\\/\b\f\n\r\t\u0001\u007f\u2028', "created_at": 0},
        {"kind": 65535, "content": "", "tags": [["d", ""], []], "created_at": 2**53 - 1},
        {"kind": 30023, "content": "x" * 1000, "tags": [["p", PEER, "", "a"]], "created_at": NOW},
        {"kind": 1.5},
        {"kind": "1"},
        {"content": "no kind"},
        {"kind": 1, "content": 7},
        {"kind": 1, "tags": "x"},
        {"kind": 1, "created_at": 2**53},
        [],
    ]
    rows = []
    for value in values:
        row: dict[str, Any] = {"value": value}
        try:
            template: EventTemplate = parse_template(value, now=NOW)
            row["id"] = event_id(template, USER)
        except BunkerError as error:
            row["error"] = str(error)
        rows.append(row)
    return rows


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
    return [{"text": text, **_outcome(lambda text=text: _uri(text))} for text in texts]


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
    return [{"text": text, **_outcome(lambda text=text: _bunker_uri(text))} for text in texts]


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
    return [{"text": text, **_outcome(lambda text=text: _key_text(text))} for text in texts]


def messages() -> list[dict[str, Any]]:
    """Return what signers answer, in all the shapes that are known of them."""
    values: list[dict[str, Any]] = [
        {"id": "a", "result": "pong"},
        {"id": 7, "result": "pong", "error": None},
        {"id": "a", "result": "pong", "error": ""},
        {"id": "a", "result": None},
        {"id": "a"},
        {"id": "a", "result": {"kind": 1, "tags": []}},
        {"id": "a", "result": ["wss://x"]},
        {"id": "a", "error": "denied"},
        {"id": "a", "result": None, "error": {"code": 1, "message": "denied"}},
        {"id": "a", "result": "x", "error": {"code": 1}},
        {"id": "a", "result": "x", "error": False},
        {"id": "a", "result": "auth_url", "error": "https://x/y"},
        {"id": "a", "result": "x", "method": "connect"},
        {"id": "a", "method": "connect", "params": [PEER, "abc"]},
        {"id": "a", "method": 1, "result": 1.5},
        {"result": "pong"},
        {"id": None, "result": "pong"},
        {"id": "x" * 257, "result": "pong"},
    ]
    texts = [*map(json.dumps, values), "[]", "null", "x", ""]
    return [{"text": text, **_outcome(lambda text=text: _message(text))} for text in texts]


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
    return [{"text": text, **_outcome(lambda text=text: parse_relay_url(text))} for text in texts]


def audit() -> list[dict[str, Any]]:
    """Return a chain of three entries."""
    rows = []
    previous = GENESIS
    for seq, (action, facts) in enumerate(
        [
            ("pair", {"client_pubkey": PEER, "outcome": "allowed", "decided_by": "secret"}),
            ("request", {"method": "sign_event", "param": "1", "outcome": "allowed"}),
            ("request", {"method": "sign_event", "outcome": "denied: é"}),
        ],
        1,
    ):
        entry = AuditEntry(seq, NOW + seq, action, USER, **facts, previous=previous).sealed()
        previous = entry.hash
        rows.append(entry.to_dict())
    return rows


def descriptions() -> list[dict[str, Any]]:
    """Return requests and what a person is told of them, in both languages."""
    peers = [["p", f"{number:064x}"] for number in range(1, 12)]
    profile = '{"name":"An\\u202ena","about":"","n":5,"x":null}'
    events: list[tuple[int, str, list[list[str]], int]] = [
        (1, "hello", [], 0),
        (1, "a\u202eb \u200b c", peers[:2], 5000),
        (1, "x", peers, 90_000),
        (0, profile, [], 0),
        (0, "{}", [], 0),
        (0, "no json", [], 0),
        (3, "", [*peers[:3], peers[0]], 0),
        (3, "", peers, 0),
        (5, "", [["e", "ab" * 32], ["a", "30023:x:y"]], 0),
        (5, "", [["e", f"{number:064x}"] for number in range(25)], 0),
        (62, "", [["relay", "ALL_RELAYS"]], 0),
        (1631, "", [], 0),
        (4242, "?", [], 0),
        (9734, "", [["p", PEER], ["amount", "21000"]], 0),
        (9734, "", [["p", "nobody"], ["amount", "21001"]], 0),
        (9734, "", [["amount", "much"]], 0),
        (10002, "", [["r", "wss://a", "read"], ["r", "wss://b"]], 0),
        (10000, "secret", [["t", "x"], ["word", "y z"], ["e", "cd" * 32]], 0),
        (22242, "", [["relay", "wss://relay.example"], ["challenge", "x"]], 0),
        (22242, "", [], 0),
        (24242, "Upload", [["t", "upload"], ["expiration", "1800000000"]], 0),
        (24242, "Upload", [["t", "upload"], ["expiration", "never"]], 0),
        (27235, "", [["u", "https://x.example/a"], ["method", "GET"]], 0),
        (30000, "", [["d", "friends"], *peers[:1]], 0),
        (30023, "text é", [["d", "slug"], ["title", "T"]], 0),
        (30078, "data", [["d", "app"]], 0),
        (17, "", [], 0),
    ]
    rows: list[dict[str, Any]] = []
    asked: dict[str, Any]
    for kind, content, tags, off in events:
        template = parse_template(
            {"kind": kind, "content": content, "tags": tags, "created_at": NOW - off}
        )
        action = {"method": "sign_event", "kind": kind, "peer": None}
        asked = {"template": _plain(template), "text": ""}
        for count in (1, 3):
            told = describe(Method.SIGN_EVENT, [Asked(template)] * count, now=NOW, kind=kind)
            rows.append({"action": action, "asked": [asked] * count, **_described(told)})
    for method in (Method.NIP44_ENCRYPT, Method.NIP04_DECRYPT):
        action = {"method": method.value, "kind": None, "peer": PEER}
        for count in (1, 2):
            told = describe(method, [Asked(text="hi\u0007")] * count, now=NOW, peer=PEER)
            asked = {"template": None, "text": "hi\u0007"}
            rows.append({"action": action, "asked": [asked] * count, **_described(told)})
    return rows + _compared()


def _compared() -> list[dict[str, Any]]:
    """Return what a person is told where something of the owner is known."""
    people = [f"{number:064x}" for number in range(1, 12)]
    follows = [["p", pubkey, "", f"name {pubkey[-2:]}"] for pubkey in people]
    profile = '{"name":"Anna","about":"old","picture":"p","n":{"a":[1,"\u00fc"]},"empty":""}'
    old: list[tuple[int, str, list[list[str]]]] = [
        (0, profile, []),
        (3, "", follows),
        (10000, "x" * 100, [["p", people[0]], ["word", "y z"], ["e", "cd" * 32]]),
        (10002, "", [["r", "wss://a", "read"], ["r", "wss://b"]]),
        (30000, "", [["d", "friends"], ["p", people[0]], ["p", people[1]]]),
        (30023, "text " * 50, [["d", "slug"]]),
        (30078, "data", [["d", "app"]]),
    ]
    new: list[tuple[int, str, list[list[str]]]] = [
        (0, '{"name":"Anna","about":"new","website":"w","n":{"a":[1,"\u00fc"]}}', []),
        (0, profile, []),
        (0, '{"name":"Anna"}', []),
        (0, "{}", []),
        (3, "", follows[:8]),
        (3, "", [*follows[1:], ["p", "ab" * 32]]),
        (3, "relays", follows),
        (3, "", [*follows, ["p", "ab" * 32], ["p", "cd" * 32]]),
        (10000, "", [["p", people[0]]]),
        (10000, "x" * 90, [["p", people[0]], ["word", "y z"], ["e", "ef" * 32]]),
        (10002, "", [["r", "wss://a"], ["r", "wss://b"]]),
        (30000, "", [["d", "friends"], ["p", people[1]], ["p", people[2]]]),
        (30000, "", [["d", "others"], ["p", people[2]]]),
        (30023, "short", [["d", "slug"]]),
        (30023, "text " * 51, [["d", "slug"]]),
        (30078, "", [["d", "app"]]),
        (5, "", [["e", "ab" * 32], ["e", "cd" * 32]]),
        (1, "hi", [["p", people[3]], ["p", "ab" * 32]]),
        (9734, "", [["p", people[4]], ["amount", "5000"]]),
        (27235, "", [["u", "https://new.example/a"], ["u", "https://known.example/"]]),
        (22242, "", [["relay", "wss://known.example"]]),
        (24242, "", [["t", "upload"], ["server", "blossom.example"]]),
    ]
    events = {}
    for kind, content, tags in old:
        template = parse_template({"kind": kind, "content": content, "tags": tags, "created_at": 1})
        events[kind, d_tag(template)] = template
    names = {tag[1]: tag[3] for tag in follows} | {people[5]: "a\u202eb"}
    notes = {"ab" * 32: "what was\nsaid", "ef" * 32: "muted"}
    hosts = {"known.example"}
    known = Known(events, notes, names, hosts, same_name=True, own_name="Anna")
    stored = {
        "events": [[f"{kind}:{d}", _plain(item)] for (kind, d), item in events.items()],
        "notes": notes,
        "names": names,
        "hosts": sorted(hosts),
        "same_name": True,
    }
    rows = []
    for kind, content, tags in new:
        value = {"kind": kind, "content": content, "tags": tags, "created_at": NOW}
        template = parse_template(value)
        told = describe(Method.SIGN_EVENT, [Asked(template)], now=NOW, kind=kind, known=known)
        action = {"method": "sign_event", "kind": kind, "peer": None}
        asked = [{"template": _plain(template), "text": ""}]
        rows.append({"action": action, "asked": asked, "known": stored, **_described(told)})
    told = describe(Method.NIP44_ENCRYPT, [Asked(text="hi")], now=NOW, peer=people[4], known=known)
    action = {"method": "nip44_encrypt", "kind": None, "peer": people[4]}
    asked = [_asked_text("hi")]
    return [*rows, {"action": action, "asked": asked, "known": stored, **_described(told)}]


def _asked_text(text: str) -> dict[str, Any]:
    return {"template": None, "text": text}


def _plain(template: EventTemplate) -> dict[str, Any]:
    return {**template.to_dict(), "tags": [list(tag) for tag in template.tags]}


def _described(told: Description) -> dict[str, Any]:
    said = {
        language: {
            "title": texts.say(told.title),
            "warnings": [texts.say(item) for item in told.warnings],
            "dangers": [texts.say(item) for item in told.dangers],
            "changes": [[texts.say(item) for item in detail.changes] for detail in told.details],
        }
        for language in LANGUAGES
        for texts in [texts_of(language)]
    }
    return {"said": said, "peer": told.peer, "count": told.count, "where": list(told.where)}


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


def _action(action: Action) -> dict[str, Any]:
    return {
        "method": action.method.value,
        "kind": action.kind,
        "peer": action.peer,
        "host": action.host,
        "own": action.at_own_relay,
        "context": None if action.context is None else list(action.context),
    }


def _random_action(draw: random.Random) -> Action:
    match draw.choice(["sign", "login", "decrypt", "scoped", "ping"]):
        case "sign":
            return Action(Method.SIGN_EVENT, draw.choice([1, 7]))
        case "login":
            host = draw.choice([None, "x.example", "y.example"])
            own = draw.choice([True, False])
            return Action(Method.SIGN_EVENT, 27235, host=host, at_own_relay=own)
        case "decrypt":
            return Action(Method.NIP44_DECRYPT, peer=draw.choice([USER, PEER]))
        case "scoped":
            context = (draw.choice([1, 30078]), draw.choice(["", "app"]))
            return Action(Method.NIP44V3_DECRYPT, peer=PEER, context=context)
        case _:
            return Action(Method.PING)


def _random_grant(draw: random.Random) -> Grant:
    method, params = draw.choice(
        [
            ("sign_event", [None, "1", "7", "27235", "27235:x.example"]),
            ("nip44_decrypt", [None, USER, PEER]),
            ("nip44v3_decrypt", [None, "1", "30078/app", "30078/"]),
        ]
    )
    rate = draw.choice([None, None, Rate(2, 60)])
    return Grant(
        method,
        draw.choice(params),
        draw.choice([Effect.ALLOW, Effect.ALLOW, Effect.DENY]),
        draw.choice([None, None, NOW, NOW + 1]),
        draw.choice([None, None, 0, 1, 5]),
        rate,
        draw.choice([0, NOW - 60, NOW - 59]) if rate else 0,
        draw.choice([0, 1, 2]) if rate else 0,
    )


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "method": grant.method,
        "param": grant.param,
        "effect": grant.effect.value,
        "expires_at": grant.expires_at,
        "uses_left": grant.uses_left,
        "rate": [grant.rate.count, grant.rate.seconds] if grant.rate else None,
        "window_start": grant.window_start,
        "window_used": grant.window_used,
    }


def _decision(grants: list[Grant], made: Allow | Ask | Refuse) -> dict[str, Any]:
    match made:
        case Allow(grant):
            return {"allow": True, "grant": None if grant is None else _grant(grant)}
        case Ask():
            return {"ask": True}
        case Refuse(error, grant):
            return {"refuse": error, "grant": _grant(grant)}


def _outcome(read: Any) -> dict[str, Any]:
    try:
        return {"found": read()}
    except InvalidRPC as error:
        return {"error": str(error), "request_id": error.request_id}
    except BunkerError as error:
        return {"error": str(error)}


def _request(text: str) -> dict[str, Any]:
    found = parse_request(text)
    return {"id": found.id, "method": found.method, "params": list(found.params)}


def _message(text: str) -> dict[str, Any]:
    match parse_message(text):
        case Request(request_id, method, params):
            return {"id": request_id, "method": method, "params": list(params)}
        case Response(request_id, result, error):
            return {"id": str(request_id), "result": result, "error": error}


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


if __name__ == "__main__":
    write()
