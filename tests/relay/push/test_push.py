"""push/: a signer that sleeps in a browser is woken, by nobody's server but the owner's."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from bunker.harness import running_relay
from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import CLIENT_AUTH, NOSTR_CONNECT
from bunker_core.nips import webpush
from bunker_relay.config import Config, Grace, PushSettings
from bunker_relay.push.send import PushFailed, post
from bunker_relay.push.subscriptions import (
    MAX_OF_SIGNER,
    MAX_SIGNERS,
    InvalidSubscription,
    Subscription,
    Subscriptions,
    parse_subscription,
)
from bunker_relay.push.waker import AGAIN, PADDED, Waker
from relay.push._service import Browser, Service, check_vapid, nip98, push_service

SIGNER = SecretKey(bytes.fromhex("0a" * 32))
APP = SecretKey(bytes.fromhex("0b" * 32))
CONFIG = """
profile = "bunker"
signers = ["{signer}"]
[grace]
seconds = 30
[push]
enabled = true
contact = "https://owner.example"
private_endpoints = true
"""


def test_a_browser_opens_what_was_sealed_for_it() -> None:
    """Every message has one length, whatever it says."""
    browser = Browser("https://push.example/x")
    keys = browser.subscription()["keys"]
    bodies = [
        webpush.encrypt(
            text, webpush.decode(keys["p256dh"]), webpush.decode(keys["auth"]), padded=PADDED
        )
        for text in (b"wake", b"test", b"")
    ]
    assert [browser.open(body) for body in bodies] == [b"wake", b"test", b""]
    assert len({len(body) for body in bodies}) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"endpoint": "http://push.example/x"}, "not an https address"),
        ({"endpoint": "file:///etc/passwd"}, "not an https address"),
        ({"endpoint": "https://"}, "no address"),
        ({"endpoint": "https://u:p@push.example/x"}, "no address"),
        ({"endpoint": "https://push.example/\r\nX: y"}, "odd"),
        ({"endpoint": "https://push.example/" + "x" * 1024}, "longer than 1024"),
        ({"endpoint": 7}, "not a push subscription"),
        ({"keys": {}}, "not a push subscription"),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, "not those"),
        ({"keys": None}, "not a push subscription"),
    ],
)
def test_what_is_no_subscription_is_refused(change: dict[str, Any], reason: str) -> None:
    """A registration chooses where this relay connects to, so it is looked at twice."""
    value = Browser("https://push.example/x").subscription() | change
    with pytest.raises(InvalidSubscription, match=reason):
        parse_subscription(value, 1, private=False)
    odd: object
    for odd in (None, [], "x", 7):
        with pytest.raises(InvalidSubscription):
            parse_subscription(odd, 1, private=False)


def _subscription(number: int) -> Subscription:
    value = Browser(f"https://push.example/{number}").subscription()
    return parse_subscription(value, number, private=False)


def test_subscriptions_are_bounded_and_kept_private(tmp_path: Path) -> None:
    """Four browsers of a signer, the oldest goes; 64 signers; 0600; another process reads it."""
    kept = Subscriptions(tmp_path)
    for number in range(MAX_OF_SIGNER + 1):
        kept.add(SIGNER.pubkey, _subscription(number))
    endpoints = [item.endpoint for item in kept.of(SIGNER.pubkey)]
    assert endpoints == [f"https://push.example/{number}" for number in range(1, 5)]
    again = Subscriptions(tmp_path)
    assert again.of(SIGNER.pubkey) == kept.of(SIGNER.pubkey)
    assert again.key.private_numbers() == kept.key.private_numbers()
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    for number in range(1, MAX_SIGNERS):
        kept.add(f"{number:064x}", _subscription(number))
    with pytest.raises(InvalidSubscription, match="64 signers"):
        kept.add("ff" * 32, _subscription(1))
    kept.remove(SIGNER.pubkey)
    assert again.of(SIGNER.pubkey) == ()
    assert "push.example/1" not in repr(_subscription(1))
    (tmp_path / "push.json").write_text("{")
    assert Subscriptions(tmp_path).of("01".zfill(64)) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254"])
async def test_no_push_goes_into_a_network(host: str) -> None:
    """Not to this machine, not to a neighbour, not to a cloud's metadata."""
    with pytest.raises(PushFailed, match="within a network"):
        await post(f"https://{host}/x", {}, b"", private=False)


async def test_a_push_service_that_is_none() -> None:
    """Silence and noise are failures in words."""

    async def noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0\r\n")
        writer.close()

    async with await asyncio.start_server(noise, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PushFailed, match="does not speak HTTP"):
            await post(f"http://127.0.0.1:{port}/", {}, b"", private=True)
    with pytest.raises(PushFailed, match=r"127\.0\.0\.1"):
        await post(f"http://127.0.0.1:{port}/", {}, b"", private=True)


def waking(
    service: Service, folder: Path, clock: Callable[[], float]
) -> tuple[Subscriptions, Waker]:
    """Return SIGNER's one subscription at a push service, and who wakes it."""
    kept = Subscriptions(folder)
    value = Browser(f"{service.url}/a").subscription()
    kept.add(SIGNER.pubkey, parse_subscription(value, 1, private=True))
    settings = PushSettings(enabled=True, private_endpoints=True)
    return kept, Waker(settings, kept, "mailto:a@b", clock)


async def test_one_push_for_a_burst_and_twenty_at_most(tmp_path: Path) -> None:
    """A hundred requests at once are one push; who asks for hours gets ten a minute."""
    now = 1_800_000_000.0
    async with push_service() as service:
        _, waker = waking(service, tmp_path, lambda: now)
        assert all(waker.wake([SIGNER.pubkey]) for _ in range(100))
        await service.pushes.get()
        assert service.pushes.empty()
        waker.awake([SIGNER.pubkey])  # it came and went again: the next one needs a push
        assert waker.wake([SIGNER.pubkey])
        await service.pushes.get()
        assert not waker.wake([APP.pubkey])
        sent = 2
        for _ in range(600):  # ten minutes, at one request a second
            now += 1
            waker.wake([SIGNER.pubkey])
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*waker._sending), 30)
        sent += service.pushes.qsize()
        assert 100 <= sent <= 20 + 600 / 6 + 1
        assert AGAIN == 3.0
        await waker.close()


def test_that_a_signer_was_here_is_kept_to_the_minute(tmp_path: Path) -> None:
    """It comes back a hundred times a minute and costs one write; who can't be woken costs none."""
    now = 1_800_000_000.0
    kept = Subscriptions(tmp_path)
    value = Browser("https://push.example/a").subscription()
    kept.add(SIGNER.pubkey, parse_subscription(value, 1, private=False))
    waker = Waker(PushSettings(enabled=True), kept, "mailto:a@b", lambda: now)
    file = tmp_path / "push.json"
    writes = {file.stat().st_ino}
    for _ in range(100):
        waker.awake([SIGNER.pubkey, APP.pubkey])
        writes.add(file.stat().st_ino)
        now += 0.5
    assert len(writes) == 2
    assert [item.seen_at for item in Subscriptions(tmp_path).of(SIGNER.pubkey)] == [1_800_000_000]
    now += 10.0
    waker.awake([SIGNER.pubkey])
    assert [item.seen_at for item in kept.of(SIGNER.pubkey)] == [1_800_000_060]
    assert kept.of(APP.pubkey) == ()


async def test_a_browser_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    """404 and 410 end a subscription; any other failure is remembered in words."""
    now = 1_800_000_000.0
    async with push_service() as service:
        kept, waker = waking(service, tmp_path, lambda: now)
        service.status = 500
        assert waker.test(SIGNER.pubkey)
        await asyncio.gather(*waker._sending)
        assert [item.outcome for item in kept.of(SIGNER.pubkey)] == ["500"]
        service.status = 410
        assert waker.test(SIGNER.pubkey)
        await asyncio.gather(*waker._sending)
        assert kept.of(SIGNER.pubkey) == ()
        assert not waker.test(SIGNER.pubkey)


def test_waking_needs_a_place_to_wait() -> None:
    """Without the grace buffer a woken signer would find nothing: the configuration says so."""
    with pytest.raises(ValueError, match=r"grace\.seconds"):
        Config(signers=(SIGNER.pubkey,), push=PushSettings(enabled=True))
    with pytest.raises(ValueError, match="contact"):
        PushSettings(enabled=True, contact="me")
    Config(
        signers=(SIGNER.pubkey,),
        push=PushSettings(enabled=True, contact="mailto:me@example.org"),
        grace=Grace(seconds=30),
    )


def _request(content: str = "x") -> dict[str, Any]:
    template = EventTemplate(NOSTR_CONNECT, content, (("p", SIGNER.pubkey),), int(time.time()))
    return sign_event(template, APP).to_dict()


async def _authenticate(socket: websockets.ClientConnection, url: str) -> None:
    """Show the key of the signer that is listened for (NIP-42)."""
    await socket.send(json.dumps(["REQ", "s", {"#p": [SIGNER.pubkey], "kinds": [24133]}]))
    _, challenge = json.loads(await socket.recv())
    assert json.loads(await socket.recv())[0] == "CLOSED"
    tags = (("relay", url), ("challenge", challenge))
    event = sign_event(EventTemplate(CLIENT_AUTH, "", tags, int(time.time())), SIGNER)
    await socket.send(json.dumps(["AUTH", event.to_dict()]))
    assert json.loads(await socket.recv())[2]


async def _ok(url: str, event: dict[str, Any]) -> str:
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps(["EVENT", event]))
        while (said := json.loads(await socket.recv()))[0] != "OK":
            pass  # the challenge that every connection gets
        assert said[2]
        return str(said[3])


async def test_asleep_woken_and_served(tmp_path: Path) -> None:
    """The whole way: registered, asked, held, pushed, subscribed, delivered; the rest refused."""
    (tmp_path / "relay.toml").write_text(CONFIG.format(signer=SIGNER.pubkey))
    options = ["--config", str(tmp_path / "relay.toml")]
    async with (
        asyncio.timeout(30),
        push_service() as service,
        running_relay(tmp_path / "data", arguments=options) as relay,
        httpx.AsyncClient(base_url=relay.url.replace("ws", "http"), trust_env=False) as http,
    ):
        browser = Browser(f"{service.url}/wp/abc?x=1")
        body = json.dumps(browser.subscription()).encode()
        url = str(http.base_url).rstrip("/") + "/push"

        async def call(method: str, path: str = "/push", key: SecretKey = SIGNER) -> httpx.Response:
            sent = body if method == "POST" else b""
            headers = nip98(key, url.removesuffix("/push") + path, method, sent, int(time.time()))
            return await http.request(method, path, content=sent, headers=headers)

        assert "woken" not in await _ok(relay.url, _request("before"))
        assert (await call("POST", key=APP)).status_code == 401
        assert (await http.get("/push")).status_code == 401
        preflight = await http.options("/push")
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        assert not (await call("GET")).json()["subscribed"]
        registered = await call("POST")
        assert registered.json()["subscribed"], registered.text

        event = _request("asked")
        assert await _ok(relay.url, event) == (
            "mute: no one is listening yet, held while the signer is woken"
        )
        headers, sealed = await asyncio.wait_for(service.pushes.get(), 10)
        assert browser.open(sealed) == b"wake"
        assert (headers["urgency"], headers["ttl"], headers["topic"]) == ("high", "60", "bunker")
        assert headers["path"] == "/wp/abc?x=1"
        claims = check_vapid(headers["authorization"], service.url)
        assert claims["sub"] == "https://owner.example"
        async with websockets.connect(relay.url) as socket:
            await _authenticate(socket, relay.url)
            await socket.send(json.dumps(["REQ", "s", {"#p": [SIGNER.pubkey], "kinds": [24133]}]))
            got = [json.loads(await socket.recv()) for _ in range(3)]
            contents = [item[2]["content"] for item in got if item[0] == "EVENT"]
            assert contents == ["before", "asked"]
            assert await _ok(relay.url, _request("awake")) == ""  # delivered: nobody is woken
        assert service.pushes.empty()

        assert (await call("POST", "/push/test")).json() == {"pushed": True}
        _, sealed = await asyncio.wait_for(service.pushes.get(), 10)
        assert browser.open(sealed) == b"test"
        assert not (await call("DELETE")).json()["subscribed"]
        assert "woken" not in await _ok(relay.url, _request("unsubscribed"))


async def test_a_relay_that_wakes_nobody_says_so(tmp_path: Path) -> None:
    """Without push.enabled there is no such endpoint."""
    async with running_relay(tmp_path) as relay:
        url = relay.url.replace("ws", "http") + "/push"
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(url)
        assert answer.status_code == 404
        assert "push.enabled" in answer.json()["error"]
