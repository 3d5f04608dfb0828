"""What clients send and are answered, as both signers read and write it."""

import json
from dataclasses import asdict
from typing import Any

from bunker_core.errors import BunkerError
from bunker_core.event import EventTemplate, event_id, parse_template
from bunker_core.nips.nip19 import encode_npub
from bunker_core.nips.nip46 import (
    Request,
    Response,
    parse_message,
    parse_metadata,
    parse_permissions,
    parse_request,
)
from bunker_signer.request.operation import Refused, hosts_of, read_operation
from phone.export.common import NOW, PEER, USER, outcome
from phone.export.policy import facts_of

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
    return [{"text": text, **outcome(lambda text=text: _request(text))} for text in texts]


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
                "action": facts_of(found.action),
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
    return [{"text": text, **outcome(lambda text=text: _message(text))} for text in texts]


def _request(text: str) -> dict[str, Any]:
    found = parse_request(text)
    return {"id": found.id, "method": found.method, "params": list(found.params)}


def _message(text: str) -> dict[str, Any]:
    match parse_message(text):
        case Request(request_id, method, params):
            return {"id": request_id, "method": method, "params": list(params)}
        case Response(request_id, result, error):
            return {"id": str(request_id), "result": result, "error": error}
