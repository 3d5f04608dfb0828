"""phones.py and app.py: one link lets one phone join, once; nothing else gets in."""

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import HTTP_AUTH
from bunker_phone.app import Host, create_app
from bunker_phone.phones import LIFETIME, MAX_LINKS, MAX_PHONES, Phones, TooMany
from bunker_phone.site import Page, Site

NOW = 1_800_000_000
ORIGIN = "http://localhost:7779"
KEY = SecretKey(bytes.fromhex("01" * 32))
BODY = "<!doctype html>"


def site() -> Site:
    page = Page(BODY.encode(), "text/html; charset=utf-8", sha256(BODY.encode()).hexdigest())
    return Site({"index.html": page, "": page})


def visitor(tmp_path: Path, joined: Callable[[str], None] = lambda _: None) -> httpx.AsyncClient:
    host = Host(ORIGIN, ("ws://localhost:7777",), joined, clock=lambda: NOW)
    app = create_app(site(), Phones(tmp_path, lambda: NOW), host)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ORIGIN)


def authorized(body: str, key: SecretKey = KEY, url: str = f"{ORIGIN}/join") -> dict[str, str]:
    tags = (("u", url), ("method", "POST"), ("payload", sha256(body.encode()).hexdigest()))
    event = sign_event(EventTemplate(HTTP_AUTH, "", tags, NOW), key)
    return {"Authorization": "Nostr " + base64.b64encode(event.to_json()).decode()}


def test_a_link_is_good_once_and_for_half_an_hour(tmp_path: Path) -> None:
    """Whoever finds the link later finds nothing."""
    now = float(NOW)
    phones = Phones(tmp_path, lambda: now)
    token = phones.new_link()
    assert phones.join(token, KEY.pubkey, "Anna's\x1b phone")
    assert not phones.join(token, "ab" * 32, "")
    assert [(phone.pubkey, phone.name) for phone in phones.all()] == [
        (KEY.pubkey, "Anna's phone"),
    ]
    late = phones.new_link()
    now += LIFETIME
    assert not phones.join(late, "ab" * 32, "")
    assert phones.remove(KEY.pubkey)
    assert not phones.remove(KEY.pubkey)


def test_links_and_phones_are_bounded(tmp_path: Path) -> None:
    """16 links at most, the oldest goes; 16 phones at most, and the 17th is told why."""
    now = float(NOW)
    phones = Phones(tmp_path, lambda: now)
    first = phones.new_link()
    for _ in range(MAX_LINKS):
        now += 1
        phones.new_link()
    assert not phones.join(first, KEY.pubkey, "")
    for number in range(MAX_PHONES):
        assert phones.join(phones.new_link(), f"{number:064x}", "")
    with pytest.raises(TooMany, match="16 phones"):
        phones.join(phones.new_link(), "ff" * 32, "")


def test_no_token_is_on_disk_and_the_file_is_private(tmp_path: Path) -> None:
    """A backup of the list admits nobody."""
    phones = Phones(tmp_path, lambda: NOW)
    token = phones.new_link()
    assert token not in phones.path.read_text()
    assert phones.path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [phones.path]


async def test_a_phone_joins_with_its_own_key(tmp_path: Path) -> None:
    """The one-time link and the transport key's signature together admit a phone, once."""
    joined: list[str] = []
    body = json.dumps({"token": Phones(tmp_path, lambda: NOW).new_link(), "name": "Phone"})
    async with visitor(tmp_path, joined.append) as client:
        answer = await client.post("/join", content=body, headers=authorized(body))
        assert (answer.status_code, answer.json()) == (200, {"relays": ["ws://localhost:7777"]})
        again = await client.post("/join", content=body, headers=authorized(body))
        assert again.status_code == 401  # the very same authorization
        other = await client.post(
            "/join", content=body, headers=authorized(body, SecretKey(bytes.fromhex("02" * 32)))
        )
        assert other.status_code == 403
    assert joined == [KEY.pubkey]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("[]", 400),
        ('{"token":7}', 400),
        ('{"token":"x"}', 403),
        ("x" * 9000, 413),
        ("[" * 8000, 400),
    ],
)
async def test_what_is_no_join_is_refused(tmp_path: Path, body: str, status: int) -> None:
    """Every wrong request gets an error that says so."""
    async with visitor(tmp_path) as client:
        answer = await client.post("/join", content=body, headers=authorized(body))
        assert answer.status_code == status
        assert answer.json()["error"]
        stranger = await client.post("/join", content=body)
        assert stranger.status_code in (401, 413)
        elsewhere = authorized(body, url="https://evil.example/join")
        assert (await client.post("/join", content=body, headers=elsewhere)).status_code in (
            401,
            413,
        )


async def test_guessing_ends_after_twenty_tries_a_minute(tmp_path: Path) -> None:
    """A token of 128 bits can't be guessed; trying costs nobody else anything either."""
    async with visitor(tmp_path) as client:
        codes = [(await client.post("/join", content="x")).status_code for _ in range(21)]
    assert codes == [401] * 20 + [429]


async def test_the_page_is_served_under_its_own_name_alone(tmp_path: Path) -> None:
    """Another name that points here shows nothing: its page could be taken for this one."""
    async with visitor(tmp_path) as client:
        good = await client.get("/")
        assert (good.status_code, good.text) == (200, BODY)
        csp = good.headers["content-security-policy"]
        assert csp.startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval';")
        assert "unsafe-inline" not in csp
        assert "unsafe-eval'" not in csp.replace("wasm-unsafe-eval'", "")
        wrong = await client.get("/", headers={"Host": "evil.example"})
        assert (wrong.status_code, ORIGIN in wrong.text) == (421, True)
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.get("/../phones.json")).status_code == 404
        cached = await client.get("/", headers={"If-None-Match": good.headers["etag"]})
        assert cached.status_code == 304
