"""Take the extension's pages in both browsers, sizes and colour schemes: `make screenshots`.

All go into build/screenshots, to be looked at; those that the documents show are copied to
docs/screenshots, in 256 colours.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from bunker.harness import running_relay, running_signer
from client.nip07._browsers import Chromium
from client.nip07._stage import NAMES, Stage, built, site, staged
from client.nip07.browser.test_sealed import lock, seal
from signer.console._pictures import TARGET, keep

if TYPE_CHECKING:
    from playwright.async_api import Route

KEPT = {"note-prompt-light": "nip07-light", "options-desk-light": "nip07-settings-light"}
SITE = "https://notes.example"  # what the documents show; Firefox has the test's own site
SIZES = {"phone": (390, 844), "desk": (1280, 800)}
FULL = ("--profile", "full")
SCHEMES = ("light", "dark")
TEXT = "Good morning! The nettles by the canal are out, and so are the first swifts. 🌿"
ASKED = {
    "login": "window.nostr.getPublicKey()",
    "note": "window.nostr.signEvent({kind: 1, tags: [['t', 'spring']], content: TEXT})",
    "profile": "window.nostr.signEvent({kind: 0, tags: [], content: '{}'})",
    "decrypt": "window.nostr.nip44.decrypt('PEER', 'A'.repeat(132))",
}


async def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, site() as origin:
        for name in NAMES:
            at = Path(folder) / name
            async with (
                running_relay(at / "relay") as relay,
                running_signer(at / "signer", [relay.url], arguments=FULL) as bunker,
                staged(name, at / "browser", built()) as stage,
            ):
                if isinstance(stage.browser, Chromium):
                    await stage.browser.context.route(f"{SITE}/**", answer)
                await shoot(stage, bunker.uri, SITE if name == "chromium" else origin)
    keep({f"nip07-chromium-{name}": kept for name, kept in KEPT.items()})


async def answer(route: "Route") -> None:
    """Answer for the site that is not there."""
    await route.fulfill(content_type="text/html", body="<!doctype html><title>Notes</title>")


async def shoot(stage: Stage, uri: str, origin: str) -> None:
    """Take every page of one browser."""
    browser = stage.browser
    await stage.settle()
    await pages(stage, await stage.options(), "empty")
    tab = await stage.options()
    await stage.fill(tab, "#uri", uri)
    await stage.click(tab, "Pair")
    await stage.said(tab)
    page = await browser.open(origin)
    for name, expression in ASKED.items():
        await asked(stage, page, name, expression, origin)
    await stage.allow_all(page)
    tab = await stage.options()
    await pages(stage, tab, "options")
    popup = await browser.open_own("popup.html", tab)
    await stage.see(popup, "h1")
    await looks(stage, popup, "popup", {"popup": (320, 260)})
    await browser.close(popup)
    await seal(stage)
    await pages(stage, await stage.options(), "unsaved")
    sealed = (await stage.state())["identities"][-1]["id"]
    tab = await stage.options()
    for told in ({"type": "saved", "id": sealed}, chosen(origin, sealed)):
        await browser.evaluate(tab, f"chrome.runtime.sendMessage({json.dumps(told)})")
    await lock(stage)
    await asked(stage, page, "locked", ASKED["note"], origin)


def chosen(origin: str, identity: str) -> dict[str, str]:
    """Return the message that says who to be for a site."""
    return {"type": "choose", "origin": origin, "identity": identity}


async def asked(stage: Stage, page: Any, name: str, expression: str, origin: str) -> None:
    """Take a question and deny it."""
    tab = await stage.options()
    forgotten = json.dumps({"type": "forget", "origin": origin})
    await stage.browser.evaluate(tab, f"chrome.runtime.sendMessage({forgotten})")
    text = expression.replace("TEXT", json.dumps(TEXT)).replace("PEER", "79be667e" * 8)
    task = asyncio.create_task(stage.call(page, text))
    prompt = await stage.prompt()
    await looks(stage, prompt, name, {"prompt": (460, 680), "phone": SIZES["phone"]})
    await stage.press(prompt, "deny")
    await task


async def pages(stage: Stage, tab: Any, name: str) -> None:
    """Take a page as a phone and as a desktop show it."""
    await looks(stage, tab, name, SIZES)


async def looks(stage: Stage, tab: Any, name: str, sizes: dict[str, tuple[int, int]]) -> None:
    """Take what a tab shows in every size, light and dark."""
    for size, (width, height) in sizes.items():
        await stage.browser.size(tab, width, height)
        for scheme in SCHEMES:
            await stage.browser.scheme(tab, scheme)
            picture = await stage.browser.picture(tab)
            path = TARGET / f"nip07-{stage.name}-{name}-{size}-{scheme}.png"
            await asyncio.to_thread(path.write_bytes, picture)


if __name__ == "__main__":
    asyncio.run(main())
