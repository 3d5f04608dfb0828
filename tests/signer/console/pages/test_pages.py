"""Apps, keys, activity, health, languages and links, each as a person uses them."""

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from bunker_client import Pairing, RemoteSigner, RequestDenied
from bunker_core.nips.nip46 import ClientMetadata, parse_permissions
from bunker_signer.console.view.texts import texts_of
from bunker_signer.key.keystore import KEYS_DIRECTORY, MASTER_KEY_FILE, create_master_key
from bunker_signer.nse import NSE, FileStorage
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from bunker_signer.policy import Profile
from interop.peers import running
from signer.console._stage import (
    DESK,
    Stage,
    bind,
    follow,
    http,
    key_of,
    node_script,
    paired,
    scan,
    sign,
    stage,
    sure,
    tap,
    visitor,
)

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_pair_by_a_code_of_ours(chromium: "Browser", on: Stage) -> None:
    """The code on the page pairs one app, with the permissions that were chosen."""
    async with visitor(chromium, on.origin) as phone:
        await bind(phone, await on.new_link())
        await tap(phone, "Apps", role="link")
        await tap(phone, "Pair an app", role="link")
        shown = phone.locator("section", has_text="Show it a code")
        await shown.get_by_text("Everyday things").click()
        await tap(shown, "Show the code")
        await phone.locator("svg.qr").wait_for()
        uri = await phone.locator("#uri").inner_text()
        async with RemoteSigner.from_uri(uri, metadata=ClientMetadata("Damus")) as app:
            assert (await sign(app, "allowed by the profile")).kind == 1
            await phone.goto(f"{on.origin}/apps/default/{key_of(app)}")
            assert await phone.get_by_role("heading", name="Damus").is_visible()
            assert await phone.get_by_text("Post a note").first.is_visible()


async def test_pair_by_a_code_of_theirs(chromium: "Browser", on: Stage) -> None:
    """A pasted nostrconnect:// address is shown before it is taken; its wishes give nothing."""
    wishes = parse_permissions("sign_event:1,nip44_decrypt")
    about = ClientMetadata("Amethyst", "https://amethyst.example")
    async with (
        visitor(chromium, on.origin) as phone,
        Pairing([on.relay], permissions=wishes, metadata=about) as pairing,
    ):
        await bind(phone, await on.new_link())
        await phone.goto(f"{on.origin}/apps/new")
        await phone.get_by_label("Or its address, pasted").fill(str(pairing.uri))
        await tap(phone, "Continue")
        await phone.get_by_role("heading", name="Pair this app?").wait_for()
        await phone.get_by_text("Amethyst", exact=True).wait_for()
        assert await phone.get_by_text(pairing.uri.client_pubkey).is_visible()
        assert await phone.get_by_text("Read all your messages").is_visible()
        await tap(phone, "Pair", exact=True)
        app = await pairing.wait()
        await phone.get_by_text("The app is paired", exact=True).wait_for()
        signing = sign(app)
        await phone.goto(f"{on.origin}/requests")
        await tap(phone, "Deny")  # so it was asked
        with pytest.raises(RequestDenied):
            await signing


async def test_an_address_that_is_none(chromium: "Browser", on: Stage) -> None:
    """What is no nostrconnect:// address is refused in words."""
    async with visitor(chromium, on.origin) as phone:
        await bind(phone, await on.new_link())
        await phone.goto(f"{on.origin}/apps/new")
        await phone.get_by_label("Or its address, pasted").fill("bunker://nonsense")
        await tap(phone, "Continue")
        await phone.get_by_text("not a nostrconnect:// URI").wait_for()


async def test_rename_take_away_and_revoke(chromium: "Browser", on: Stage) -> None:
    """The owner's name stays, a permission taken is asked for again, a revoked app is out."""
    uri = await on.new_uri(Profile.BASIC)
    about = ClientMetadata("x7-client")
    async with (
        visitor(chromium, on.origin) as phone,
        RemoteSigner.from_uri(uri, metadata=about) as app,
    ):
        await bind(phone, await on.new_link())
        await phone.goto(f"{on.origin}/apps/default/{key_of(app)}")
        await phone.get_by_label("Name", exact=True).fill("My reader")
        await tap(phone, "Save")
        await phone.get_by_role("heading", name="My reader").wait_for()
        await sign(app, "without asking")
        await sure(phone, "Take away: Post a note", "Yes, take it away")
        await phone.get_by_text("Saved", exact=True).wait_for()
        signing = sign(app, "asks now")
        await phone.goto(f"{on.origin}/requests")
        await phone.get_by_role("heading", name="Post a note").wait_for()
        assert await phone.locator(".who strong").inner_text() == "My reader"
        await tap(phone, "Allow once")
        await phone.get_by_text("Allowed", exact=True).wait_for()
        await signing
        await phone.goto(f"{on.origin}/apps/default/{key_of(app)}")
        await sure(phone, "Revoke", "Yes, end its access")
        await phone.get_by_text("The app is revoked").wait_for()
        with pytest.raises(RequestDenied, match="not connected"):
            await sign(app)
        assert await phone.get_by_text("My reader").count() == 0


async def test_a_grant_of_another_app_stays(on: Stage, chromium: "Browser") -> None:
    """A number that belongs to another app's permission takes nothing away."""
    uris = [await on.new_uri(Profile.BASIC) for _ in range(2)]
    async with (
        visitor(chromium, on.origin) as phone,
        RemoteSigner.from_uri(uris[0]) as one,
        RemoteSigner.from_uri(uris[1]) as other,
    ):
        await bind(phone, await on.new_link())
        await phone.goto(f"{on.origin}/apps/default/{key_of(other)}")
        foreign = await phone.locator("input[name=grant]").first.get_attribute("value")
        await phone.goto(f"{on.origin}/apps/default/{key_of(one)}")
        first = phone.locator("input[name=grant]").first
        await first.evaluate("(field, value) => { field.value = value }", foreign)
        await sure(phone, "Take away: Post a note", "Yes, take it away")
        await phone.wait_for_url("**done=saved")
        assert (await sign(one, "still mine")).kind == 1
        assert (await sign(other, "and mine")).kind == 1


async def test_lock_and_unlock(chromium: "Browser", on: Stage) -> None:
    """A request to a locked key waits, and goes on when the owner unlocks it on their phone."""
    uri = await on.new_uri(Profile.BASIC)
    async with visitor(chromium, on.origin) as phone, RemoteSigner.from_uri(uri) as app:
        await bind(phone, await on.new_link())
        await phone.goto(f"{on.origin}/keys")
        npub = await phone.locator("code", has_text="npub1").inner_text()
        assert npub == on.signer.npub
        await phone.get_by_text("Show as a code").click()
        await phone.locator("svg.qr").wait_for()
        await phone.get_by_text("Master key file").wait_for()
        await sure(phone, "Lock", "Lock now")
        await phone.get_by_text("Locked", exact=True).wait_for()
        signing = sign(app, "patience")
        await tap(phone, "Unlock")
        await phone.get_by_text("Unlocked", exact=True).wait_for()
        assert (await signing).content == "patience"


async def test_unlock_by_passphrase(chromium: "Browser", relay_url: str, folder: "Path") -> None:
    """A key that opens by a passphrase alone starts locked; a wrong one opens nothing."""
    await passphrase_only(folder, b"correct horse")
    async with stage(relay_url, folder) as on, visitor(chromium, on.origin) as phone:
        await bind(phone, on.link)
        await phone.goto(f"{on.origin}/keys")
        await phone.get_by_text("Locked", exact=True).wait_for()
        assert await phone.get_by_text("Passphrase or PIN").first.is_visible()
        await phone.get_by_label("Passphrase or PIN").fill("wrong")
        await tap(phone, "Unlock")
        await phone.get_by_text("The key stays locked").wait_for()
        await phone.goto(f"{on.origin}/keys")
        await phone.get_by_label("Passphrase or PIN").fill("correct horse")
        await tap(phone, "Unlock")
        await phone.get_by_text("Unlocked", exact=True).wait_for()
        async with paired(on) as app:
            signing = sign(app, "opened")
            await phone.goto(f"{on.origin}/requests")
            await tap(phone, "Allow once")
            assert (await signing).content == "opened"


async def test_activity(chromium: "Browser", on: Stage) -> None:
    """The audit log tells who decided what, can be filtered, and is drawn by app and day."""
    uri = await on.new_uri(Profile.BASIC)
    about = ClientMetadata("Busy")
    async with (
        visitor(chromium, on.origin) as phone,
        RemoteSigner.from_uri(uri, metadata=about) as busy,
        paired(on, "Quiet") as quiet,
    ):
        await bind(phone, await on.new_link(), "Anna’s phone")
        for number in range(3):
            await sign(busy, str(number))
        refused = sign(quiet, "", kind=10002)
        await tap(phone, "Deny")
        with pytest.raises(RequestDenied):
            await refused
        await phone.goto(f"{on.origin}/activity")
        top = phone.locator("ul.list li").first
        assert "Replace your relay list" in await top.inner_text()
        assert "by Anna’s phone" in await top.inner_text()
        assert "Denied" in await top.inner_text()
        await phone.get_by_label("App").select_option(key_of(busy))
        await tap(phone, "Filter")
        chart = phone.get_by_role("img", name="3 requests in the last 14 days")
        assert await chart.locator("rect").count() == 1
        rows = await phone.locator("ul.list li").all_inner_texts()
        assert sum("Post a note" in row for row in rows) == 3
        assert not any("relay list" in row for row in rows)
        await phone.get_by_label("Outcome").select_option("denied")
        await tap(phone, "Filter")
        await phone.get_by_text("Nothing here").wait_for()


async def test_health(chromium: "Browser", on: Stage) -> None:
    """Each relay with its state and a round trip that was measured for this look."""
    async with visitor(chromium, on.origin) as phone:
        await bind(phone, await on.new_link())
        await tap(phone, "Health", role="link")
        await phone.get_by_text("Connected", exact=True).wait_for()
        facts = await phone.locator(".facts").inner_text()
        milliseconds = float(facts.split("Round trip")[1].split()[0])
        assert 0 < milliseconds < 3000


async def test_a_banner_is_as_wide_as_the_card_below(chromium: "Browser", on: Stage) -> None:
    """On a desk both end at the same place."""
    async with visitor(chromium, on.origin, viewport=DESK) as page:
        await bind(page, await on.new_link())
        edges = await page.evaluate(
            "['.banner.good', '#live'].map((name) => "
            "document.querySelector(name).getBoundingClientRect().right)"
        )
        assert edges[0] == edges[1] > 900


async def test_another_language(chromium: "Browser", on: Stage) -> None:
    """The browser's language, until the owner chooses another."""
    german = texts_of("de")
    async with visitor(chromium, on.origin, locale="de-AT") as phone:
        await phone.goto(await on.new_link())
        await tap(phone, german("bind.button"))
        await phone.get_by_role("heading", name=german("requests.empty")).wait_for()
        assert await phone.locator("html").get_attribute("lang") == "de"
        await phone.goto(f"{on.origin}/devices")
        await phone.get_by_label(german("devices.language")).select_option("en")
        language = phone.locator("form[action='/language']")
        await follow(language.get_by_role("button"))
        await phone.get_by_role("heading", name="Bound devices").wait_for()


async def test_a_link_from_elsewhere_arrives(chromium: "Browser", on: Stage) -> None:
    """A request's link in another site's page opens it, though the cookie is SameSite=Strict."""
    other = "http://127.0.0.1:1"  # another site: 127.0.0.1 is not localhost
    async with visitor(chromium, on.origin, beside=other, worker=True) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        signing = sign(app, "linked")
        await phone.locator(".question").wait_for()
        request_id = await phone.locator(".question").get_attribute("data-id")
        link = f"<a href='{on.origin}/requests/{request_id}'>open</a>"

        async def elsewhere(route: Any) -> None:
            await route.fulfill(body=link, content_type="text/html")

        await phone.context.route(f"{other}/**", elsewhere)
        await phone.goto(f"{other}/page")
        await follow(phone.get_by_text("open"))
        await phone.wait_for_url(f"**/requests/{request_id}")
        assert await phone.locator(".content").inner_text() == "linked"
        await tap(phone, "Allow once")
        await signing


async def test_auth_url_and_notification(
    chromium: "Browser", relay_url: str, folder: "Path"
) -> None:
    """The app is sent to its request, and so is the owner; both links open just that."""
    folder.parent.mkdir(exist_ok=True)
    told = folder.parent / "told"
    os.mkfifo(told)
    hook = folder.parent / "hook"
    hook.write_text(f'#!/bin/sh\nexec cat > "{told}"\n')  # a program of the owner's own
    hook.chmod(0o700)
    async with stage(relay_url, folder) as first:
        port = first.origin.rpartition(":")[2]
        link = first.link
    arguments = ("--console", f"127.0.0.1:{port}", "--qr", "--auth-url", "console")
    async with (
        stage(relay_url, folder, (*arguments, "--notify", f"command:{hook}")) as on,
        visitor(chromium, on.origin) as phone,
        running(*node_script("nostr_tools_asks.mjs"), on.signer.uri) as peer,
    ):
        await scan(phone, link)  # made before the restart, and good still
        await peer.until("connected")
        opened = await peer.until("auth_url")
        await phone.goto(opened)
        await phone.get_by_role("heading", name="Post a note").wait_for()
        async with asyncio.timeout(10):
            notice = json.loads(await asyncio.to_thread(told.read_text))
        assert notice["link"].startswith(f"{on.origin}/requests/")
        assert "asked by nostr-tools" not in json.dumps(notice)
        await phone.goto(notice["link"])
        assert await phone.locator(".content").inner_text() == "asked by nostr-tools"
        await tap(phone, "Allow once")
        assert (await peer.until("signed"))["content"] == "asked by nostr-tools"


async def test_installable(chromium: "Browser", on: Stage) -> None:
    """A manifest with icons that are there, a worker, and an offline page without the signer."""
    async with http(on) as client:
        manifest = (await client.get("/manifest.webmanifest")).json()
        assert manifest["display"] == "standalone"
        assert {icon["sizes"] for icon in manifest["icons"]} >= {"192x192", "512x512"}
        for icon in manifest["icons"]:
            answer = await client.get(icon["src"])
            assert answer.status_code == 200
            assert answer.headers["content-type"] == icon["type"]


async def test_offline_page(chromium: "Browser", relay_url: str, folder: "Path") -> None:
    """Without the signer the installed app says so, and shows nothing that was there before."""
    async with stage(relay_url, folder) as on, visitor(chromium, on.origin, worker=True) as phone:
        await bind(phone, on.link)
        await phone.goto(f"{on.origin}/keys")
        await phone.evaluate("navigator.serviceWorker.ready.then(() => null)")
        await phone.reload()  # by the worker from now on
        await on.signer.kill()
        await phone.goto(f"{on.origin}/keys")
        await phone.get_by_role("heading", name="No connection").wait_for()
        assert "npub1" not in await phone.content()
        kept = await phone.evaluate(
            "caches.keys().then((names) => Promise.all(names.map((name) => caches.open(name)"
            ".then((cache) => cache.keys()).then((all) => all.map((one) => one.url)))))"
        )
        paths = {url.removeprefix(on.origin) for cache in kept for url in cache}
        assert paths == {
            "/offline",
            "/static/console.css",
            "/static/console.js",
            "/static/redraw.js",
            "/static/icon.svg",
        }


async def test_the_command_makes_a_link(chromium: "Browser", on: Stage) -> None:
    """`bunker signer console` prints a link that binds a device."""
    link = await on.command("console", "--no-qr")
    assert link.startswith(f"{on.origin}/bind/")
    async with visitor(chromium, on.origin) as phone:
        await scan(phone, link, "By command")
        await phone.goto(f"{on.origin}/devices")
        await phone.get_by_text("By command").wait_for()


async def passphrase_only(data: "Path", passphrase: bytes) -> None:
    """Leave the user key of a signer that is about to start to a passphrase alone."""

    def make() -> None:
        folder = data / KEYS_DIRECTORY
        folder.mkdir(mode=0o700, parents=True)
        protector = Passphrase(bytearray(passphrase), Argon2(memory_kib=1024, passes=1))
        with NSE(storage=FileStorage(folder), protector=protector) as key:
            key.generate()
        protector.close()
        create_master_key(data / MASTER_KEY_FILE)

    await asyncio.to_thread(make)
