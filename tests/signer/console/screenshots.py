"""Take every page in both sizes and both colour schemes: `make screenshots`.

All go into build/screenshots, to be looked at; those that the documents show are copied to
docs/screenshots.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from bunker.harness import running_relay
from bunker_client import RemoteSigner
from bunker_core.keys import SecretKey
from bunker_core.nip46 import ClientMetadata
from bunker_signer.policy import Profile
from signer.console._stage import DESK, PHONE, Stage, bind, browser, sign, stage, visitor

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

ROOT = Path(__file__).parents[3]
TARGET = ROOT / "build" / "screenshots"
SHOWN = ROOT / "docs" / "screenshots"
KEPT = (
    "request-phone-light",
    "answers-phone-light",
    "warning-phone-dark",
    "app-phone-light",
    "activity-desk-light",
    "request-desk-dark",
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
    SHOWN.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(TARGET / f"{name}.png", SHOWN)


async def shoot(chromium: "Browser", on: Stage) -> None:
    """Take every page in both sizes and both colour schemes."""
    looks = [(size, scheme) for size in ("phone", "desk") for scheme in ("light", "dark")]
    links = {look: await on.new_link() for look in looks}
    async with visitor(chromium, on.origin) as first:
        await first.goto(on.link)
        await first.screenshot(path=TARGET / "bind-phone-light.png")
        await bind(first, on.link, "Anna’s phone")
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
                await bind(page, links[size, scheme], f"{name}, {scheme}")
                await pictures(page, on, apps, f"{size}-{scheme}")
        for app in apps:
            await app.__aexit__(None, None, None)


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
    await first.get_by_role("button", name="Deny").click()
    await asyncio.gather(refused, return_exceptions=True)
    return apps


async def pictures(page: "Page", on: Stage, apps: list[RemoteSigner], look: str) -> None:
    """Take all pages in one look."""
    for path in PAGES:
        await page.goto(f"{on.origin}/{path}")
        await page.screenshot(path=TARGET / f"{path.replace('/', '-')}-{look}.png")
    await page.goto(f"{on.origin}/apps")
    await page.locator(".list a.row").first.click()
    await page.screenshot(path=TARGET / f"app-{look}.png")
    await page.goto(f"{on.origin}/apps/new")
    await page.get_by_role("button", name="Show the code").click()
    await page.locator(".qr").wait_for()
    await page.screenshot(path=TARGET / f"invite-{look}.png")

    await page.goto(f"{on.origin}/requests")
    waiting = [sign(apps[0], NOTE, kind=30023, tags=[["d", "canal"], ["t", "spring"]])]
    await page.locator(".question").wait_for()
    waiting.append(sign(apps[1], PROFILE, kind=0))
    waiting.append(
        asyncio.create_task(apps[0].nip44_decrypt("1" * 64, "not a payload", timeout=60.0))
    )
    await page.locator("#waiting .row").nth(1).wait_for()
    await settled(page)
    await page.screenshot(path=TARGET / f"request-{look}.png")
    await page.locator(".longer summary").click()
    await page.screenshot(path=TARGET / f"answers-{look}.png")
    await page.locator(".longer summary").click()
    await page.get_by_role("link", name="Change your profile").click()
    await page.locator(".warning").wait_for()
    await settled(page)
    await page.screenshot(path=TARGET / f"warning-{look}.png")
    for _ in waiting:
        await page.goto(f"{on.origin}/requests")
        await page.get_by_role("button", name="Deny").click()
        await page.wait_for_url("**done=denied")
    await asyncio.gather(*waiting, return_exceptions=True)


async def settled(page: "Page") -> None:
    """Wait until what moves has come to rest and what was disabled is not."""
    await page.locator("fieldset:not(:disabled) .two").wait_for()
    await page.evaluate(
        "Promise.all(document.getAnimations().map((animation) => animation.finished))"
    )


if __name__ == "__main__":
    asyncio.run(main())
