"""What a person is told of a request, in every language."""

from typing import Any

from bunker_core.describe import LANGUAGES, Asked, Description, Known, describe, texts_of
from bunker_core.describe.change import d_tag
from bunker_core.event import EventTemplate, parse_template
from bunker_core.nips.nip46 import Method
from phone.export.common import NOW, PEER


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
