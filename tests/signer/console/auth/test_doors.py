"""Who may come in, and what every answer carries: nobody without a bound device sees anything."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.routing import Route

from bunker_signer.console.app import ROUTES
from bunker_signer.console.auth.guard import MAX_BODY
from signer.console._stage import Stage, bound, http, paired, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = {
    "/bind/{token}",
    "/login",
    "/login/options",
    "/login/password",
    "/offline",
    "/alive",
    "/manifest.webmanifest",
    "/worker.js",
    "/favicon.ico",
}
SECRETS = ("npub1", "Notes of a spy", "bunker://", "csrf")


def every_route() -> list[tuple[str, str]]:
    """Return path and method of every route of the app, read from the app itself."""
    return [
        (route.path, method)
        for route in ROUTES
        if isinstance(route, Route) and route.path not in PUBLIC
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


@pytest.mark.parametrize(("path", "method"), every_route())
async def test_unbound_sees_and_changes_nothing(on: Stage, path: str, method: str) -> None:
    """Without a bound device every page and every action is closed, whatever the address."""
    filled = (
        path.replace("{id}", "a" * 64).replace("{key}", "default").replace("{pubkey}", "b" * 64)
    )
    async with http(on) as client:
        answer = await client.request(method, filled)
    assert answer.status_code == 401
    assert not any(secret in answer.text for secret in SECRETS)


@pytest.mark.parametrize(
    "path", ["/login", "/requests", "/static/console.css", "/nothing", "/worker.js", "/bind/x"]
)
async def test_headers_on_every_answer(on: Stage, path: str) -> None:
    """Also errors may be neither framed nor sniffed nor kept, and run no script but ours."""
    async with http(on) as client:
        headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    kept = "no-cache" if path.startswith("/static") else "no-store"
    assert headers["cache-control"] == kept
    assert "server" not in headers


async def test_a_link_binds_once(on: Stage) -> None:
    """Looking at a link does not use it up; binding does."""
    path = (await on.new_link()).removeprefix(on.origin)
    async with http(on) as first, http(on) as second:
        assert (await first.get(path)).status_code == 200
        assert (await second.get(path)).status_code == 200
        answer = await first.post(path, data={"name": "First"})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert (await first.get("/requests")).status_code == 200
        assert (await second.post(path, data={"name": "Second"})).status_code == 404
        assert (await second.get("/requests")).status_code == 401


async def test_no_token_lies_in_the_database(on: Stage) -> None:
    """Who reads the console's file can't come in by it."""
    link = await on.new_link()
    async with http(on) as client:
        await bound(on, client)
        cookie = client.cookies["device"]
    raw = (on.data / "console.sqlite3").read_bytes()
    wal = on.data / "console.sqlite3-wal"
    raw += wal.read_bytes() if wal.exists() else b""
    assert cookie.encode() not in raw
    assert link.rpartition("/")[2].encode() not in raw
    assert (on.data / "console.sqlite3").stat().st_mode & 0o077 == 0


async def test_a_link_is_too_old(on: Stage) -> None:
    """A link of more than ten minutes ago binds nobody."""
    path = (await on.new_link()).removeprefix(on.origin)
    with sqlite3.connect(on.data / "console.sqlite3") as database:
        database.execute("UPDATE links SET created_at = created_at - 601")
    database.close()
    async with http(on) as client:
        assert (await client.get(path)).status_code == 404
        assert (await client.post(path, data={"name": "Late"})).status_code == 404


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", None, "http://localhost:1", "http://127.0.0.1"]
)
async def test_a_foreign_page_can_not_post(on: Stage, origin: str | None) -> None:
    """The right cookie and the right token from another origin change nothing."""
    async with http(on) as client:
        token = await bound(on, client)
        del client.headers["origin"]
        headers = {} if origin is None else {"origin": origin}
        answer = await client.post("/logout", data={"csrf": token}, headers=headers)
        assert answer.status_code == 403
        assert (await client.get("/requests")).status_code == 200


async def test_a_form_needs_the_devices_own_token(on: Stage) -> None:
    """Neither no token nor the one of another bound device will do."""
    async with http(on) as mine, http(on) as other:
        await bound(on, mine)
        foreign = await bound(on, other)
        for token in ("", foreign, "ä"):
            answer = await mine.post("/logout", data={"csrf": token})
            assert answer.status_code == 403
        assert (await mine.get("/requests")).status_code == 200


async def test_a_foreign_name_gets_no_page(on: Stage) -> None:
    """A name of somebody else's that points here (DNS rebinding) is refused before the cookie."""
    async with http(on) as client:
        await bound(on, client)
        port = on.origin.rpartition(":")[2]
        for host in (f"evil.example:{port}", f"127.0.0.1:{port}", "localhost"):
            answer = await client.get("/requests", headers={"host": host})
            assert answer.status_code == 421
            assert "Requests" not in answer.text


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "%2F%2Fevil.example", "/bind/x",
     "/requests/../../x", "/requests?done=allowed", "javascript:alert(1)"],
)  # fmt: skip
async def test_no_open_redirect(on: Stage, target: str) -> None:
    """A login goes on to pages of ours, and to nothing else."""
    async with http(on) as client:
        await bound(on, client)
        answer = await client.get("/login", params={"next": target})
        assert (answer.status_code, answer.headers["location"]) == (303, "/requests")
        good = await client.get("/login", params={"next": "/requests/abc123"})
        assert good.headers["location"] == "/requests/abc123"


async def test_an_unbound_device_is_out_at_once(on: Stage) -> None:
    """Unbinding ends the pages that are open, not just the next one that is asked for."""
    async with http(on) as mine, http(on) as lost:
        token = await bound(on, mine, "Mine")
        await bound(on, lost, "Lost")
        page = (await mine.get("/devices")).text
        row = next(part for part in page.split('<li class="row">') if ">Lost<" in part)
        action = row.split('action="')[1].split('"')[0]

        async def until_unbound() -> list[str]:
            async with lost.stream("GET", "/events") as events:
                return [line async for line in events.aiter_lines()]

        watching = asyncio.create_task(until_unbound())
        async with paired(on) as app:
            signing = sign(app, "to be seen by one")
            await _waits(mine)
            answer = await mine.post(action, data={"csrf": token})
            assert answer.status_code == 303
            async with asyncio.timeout(10):
                assert "event: unbound" in await watching
            assert (await lost.get("/requests")).status_code == 401
            signing.cancel()


async def test_a_body_has_a_size(on: Stage) -> None:
    """What no form of ours can be is refused unread, also when its size is not told."""

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 1024

    async with http(on) as client:
        assert (await client.post("/login", content=b"x" * (MAX_BODY + 1))).status_code == 413
        assert (await client.post("/login", content=endless())).status_code == 413


async def test_guessing_is_slowed(on: Stage) -> None:
    """After a few wrong links in a row the next one is not even looked at."""
    path = (await on.new_link()).removeprefix(on.origin)
    async with http(on) as client:
        answers = [await client.get("/bind/wrong") for _ in range(8)]
        assert answers[-1].status_code == 429
        assert (await client.post(path, data={"name": "x"})).status_code == 429


async def _waits(client: httpx.AsyncClient) -> None:
    """Wait until a request is on the page, told by the stream and not by looking again."""
    async with asyncio.timeout(10), client.stream("GET", "/events") as events:
        async for line in events.aiter_lines():
            if 'class="question"' in line:
                return
