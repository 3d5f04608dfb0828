"""Take every page in both sizes and both colour schemes: `make screenshots`.

All go into build/screenshots, to be looked at; those that the documents show are copied to
docs/screenshots, in 256 colours.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from bunker.harness import running_relay
from bunker_client import Pairing, RemoteSigner
from bunker_core.keys import SecretKey
from bunker_core.nips.nip46 import ClientMetadata, parse_permissions
from bunker_signer.policy import Profile
from signer.console._pictures import TARGET, keep
from signer.console._stage import (
    DESK,
    PHONE,
    Stage,
    browser,
    follow,
    scan,
    sign,
    stage,
    sure,
    tap,
    visitor,
)

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

KEPT = (
    "request-phone-light",
    "answers-phone-light",
    "warning-phone-dark",
    "review-phone-light",
    "app-phone-light",
    "activity-desk-light",
    "request-desk-dark",
    "follows-phone-light",
    "encrypt-phone-dark",
    "locked-card-phone-light",
    "undo-phone-light",
    "stop-phone-dark",
    "stop-desk-light",
)
PAGES = ("apps", "apps/new", "keys", "activity", "health", "devices")
NOTE = "Good morning! The nettles by the canal are out, and so are the first swifts. 🌿"
PROFILE = '{"name":"Anna","about":"Boats and bread"}'
APPS = ("Coracle", "Amethyst on the tablet", "Habla")


async def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        async with running_relay(data / "relay") as relay:
            # Fixed port: the address is in some of the pictures.
            arguments = ("--console", "127.0.0.1:7778", "--qr")
            async with stage(relay.url, data / "signer", arguments) as on, browser() as chromium:
                await shoot(chromium, on)
    keep({name: name for name in KEPT})


async def shoot(chromium: "Browser", on: Stage) -> None:
    """Take every page in both sizes and both colour schemes."""
    looks = [(size, scheme) for size in ("phone", "desk") for scheme in ("light", "dark")]
    links = {look: await on.new_link() for look in looks}
    async with visitor(chromium, on.origin) as first:
        await scan(first, on.link, "Anna’s phone")
        await first.screenshot(path=TARGET / "empty-phone-light.png")
        apps = await paired(on, first)
        for size, scheme in looks:
            viewport = PHONE if size == "phone" else DESK
            scale = 2 if size == "phone" else 1
            async with visitor(
                chromium,
                on.origin,
                viewport=viewport,
                color_scheme=scheme,
                device_scale_factor=scale,
            ) as page:
                name = "Tablet" if size == "desk" else "Phone"
                await scan(page, links[size, scheme], f"{name}, {scheme}")
                await pictures(page, on, apps, f"{size}-{scheme}")
            await strangers(chromium, on, f"{size}-{scheme}", viewport, scheme)
        for app in apps:
            await app.__aexit__(None, None, None)


async def strangers(
    chromium: "Browser", on: Stage, look: str, viewport: dict[str, int], scheme: str
) -> None:
    """Take what a device sees that is not bound, in German."""
    options: dict[str, Any] = {"viewport": viewport, "color_scheme": scheme, "locale": "de-DE"}
    async with visitor(chromium, on.origin, **options) as page:
        for name, path in (("login", "login"), ("link-gone", "bind/none"), ("bind", "")):
            await page.goto(f"{on.origin}/{path}" if path else await on.new_link())
            await page.screenshot(path=TARGET / f"{name}-{look}.png")
        await follow(page.get_by_role("button"))
        for path in PAGES:
            await page.goto(f"{on.origin}/{path}")
            await page.screenshot(path=TARGET / f"{path.replace('/', '-')}-de-{look}.png")
        await page.goto(f"{on.origin}/devices")
        await sure(page, "Dieses Gerät abmelden", "Ja, dieses Gerät abmelden")
        await page.wait_for_url("**/login")


async def paired(on: Stage, first: "Page") -> list[RemoteSigner]:
    """Pair some apps and let them have a past."""
    apps = []
    for name in APPS:
        uri = await on.new_uri(Profile.BASIC)
        about = ClientMetadata(name, f"https://{name.split()[0].lower()}.example")
        app = RemoteSigner.from_uri(uri, client_key=SecretKey.generate(), metadata=about)
        apps.append(await app.__aenter__())
    for count, app in zip((7, 3, 2), apps, strict=True):
        for number in range(count):
            await sign(app, f"note {number}")
    refused = sign(apps[2], "", kind=10002)
    await tap(first, "Deny")
    await asyncio.gather(refused, return_exceptions=True)
    return apps


async def pictures(page: "Page", on: Stage, apps: list[RemoteSigner], look: str) -> None:
    """Take all pages in one look."""

    async def shot(name: str) -> None:
        await page.screenshot(path=TARGET / f"{name}-{look}.png")

    for path in PAGES:
        await page.goto(f"{on.origin}/{path}")
        await shot(path.replace("/", "-"))
    await page.goto(f"{on.origin}/apps")
    await follow(page.locator(".list a.row").first)
    await shot("app")
    await page.goto(f"{on.origin}/apps/new")
    await tap(page, "Show the code")
    await page.locator(".qr").wait_for()
    await shot("invite")

    wishes = parse_permissions("sign_event:1,sign_event:7,nip44_encrypt,nip44_decrypt")
    about = ClientMetadata("Nostrudel", "https://nostrudel.example")
    async with Pairing([on.relay], permissions=wishes, metadata=about) as pairing:
        await page.goto(f"{on.origin}/apps/new")
        await page.get_by_label("its address, pasted").fill(str(pairing.uri))
        await tap(page, "Continue")
        await page.get_by_role("heading", name="Pair this app?").wait_for()
        await shot("review")
    await page.goto(f"{on.origin}/devices")
    await tap(page, "Add a device")
    await page.locator(".qr").wait_for()
    await shot("link")
    await page.goto(f"{on.origin}/keys")
    await sure(page, "Lock", "Lock now")
    await page.get_by_text("The key is locked").wait_for()
    await shot("locked")
    await tap(page, "Unlock")
    await page.get_by_text("The key is unlocked").wait_for()
    await page.goto(f"{on.origin}/requests/{'0' * 64}")
    await shot("over")
    await page.goto(f"{on.origin}/requests")
    await shot("nothing")
    waiting = [sign(apps[0], NOTE, kind=30023, tags=[["d", "canal"], ["t", "spring"]])]
    await page.locator(".question").wait_for()
    waiting.append(sign(apps[1], PROFILE, kind=0))
    waiting.append(
        asyncio.create_task(apps[0].nip44_decrypt("1" * 64, "not a payload", timeout=60.0))
    )
    await page.locator("#waiting .row").nth(1).wait_for()
    await settled(page)
    await shot("request")
    await page.locator(".longer summary").click()
    await shot("answers")
    await page.locator(".longer summary").click()
    await tap(page, "Change your profile", role="link")
    await page.locator(".warning").wait_for()
    await settled(page)
    await shot("warning")
    await tap(page, "Read a message", role="link")
    await page.get_by_text("able to read the message").wait_for()
    await settled(page)
    await shot("decrypt")
    for _ in waiting:
        await page.goto(f"{on.origin}/requests")
        await tap(page, "Deny")
        await page.wait_for_url("**done=denied")
    await asyncio.gather(*waiting, return_exceptions=True)

    await new_cards(page, on, apps, look)
    several = [sign(apps[2], f"Photo {n} of the harbour", kind=1063) for n in range(4)]
    await page.get_by_text("4 of 4").wait_for()
    await settled(page)
    await shot("burst")
    await tap(page, "Deny")
    await page.wait_for_url("**done=denied")
    await asyncio.gather(*several, return_exceptions=True)


async def new_cards(page: "Page", on: Stage, apps: list[RemoteSigner], look: str) -> None:
    """Take what would be lost, what would be encrypted, a locked key, stop, undo, activity."""

    async def shot(name: str) -> None:
        await settled(page)
        await page.screenshot(path=TARGET / f"{name}-{look}.png")

    people = [["p", f"{number:064x}", "", f"friend {number}"] for number in range(1, 31)]
    await page.goto(f"{on.origin}/requests")
    signing = sign(apps[0], "", kind=3, tags=people)
    await page.locator(".question").wait_for()
    if await page.locator("input[name=sure]").count():
        await page.locator("input[name=sure]").check()
    await tap(page, "Allow once")
    await signing
    signing = sign(apps[0], "", kind=3, tags=people[:8])
    await page.get_by_text("22 fewer than now").wait_for()
    await shot("follows")
    await tap(page, "Deny")
    await asyncio.gather(signing, return_exceptions=True)
    await page.wait_for_url("**done=denied")
    peer = SecretKey.generate().pubkey
    asking = asyncio.create_task(apps[0].nip44_encrypt(peer, "Meet me at noon, by the canal."))
    await page.get_by_text("Meet me at noon").wait_for()
    await shot("encrypt")
    await tap(page, "Deny")
    await asyncio.gather(asking, return_exceptions=True)
    await page.wait_for_url("**done=denied")
    await on.command("lock")
    signing = sign(apps[1], "from a locked key", kind=30023)
    await page.get_by_role("button", name="Unlock and allow").wait_for()
    await shot("locked-card")
    await page.get_by_text("Allow for longer…").click()
    await follow(page.locator("button[value='1h']"))
    await signing
    await page.locator(".toast").wait_for()
    await page.screenshot(path=TARGET / f"undo-{look}.png")
    await tap(page, "Undo")
    await page.goto(f"{on.origin}/stop")
    await page.screenshot(path=TARGET / f"stop-{look}.png")
    await page.goto(f"{on.origin}/activity")
    await page.screenshot(path=TARGET / f"activity-told-{look}.png")
    await page.goto(f"{on.origin}/requests")


async def settled(page: "Page") -> None:
    """Wait until what moves has come to rest and what was disabled is not."""
    await page.locator("fieldset:not(:disabled) .two").wait_for()
    await page.evaluate(
        "Promise.all(document.getAnimations().map((animation) => animation.finished))"
    )


if __name__ == "__main__":
    asyncio.run(main())
