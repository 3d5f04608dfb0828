"""The extension's own pages: for everyone, in both languages, light and dark, large and small."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytest_asyncio

from client.nip07._stage import PEER, Chromium, Stage, built, site, staged
from client.nip07.test_sealed import PASSPHRASE, lock, seal
from signer.console._stage import axe

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")
AXE = """axe.run(document,
    {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})
    .then(({violations}) => violations.map(({id, nodes}) => `${id}: ${nodes[0].html}`))"""
# What a page has at 100 %; a popup grows with what is in it.
WIDTH = {"options.html": 900, "prompt.html": 460, "popup.html": 640}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A web site."""
    with site() as at:
        yield at


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A browser with the extension, and no key."""
    async with staged("chromium", tmp_path_factory.mktemp("pages"), built()) as made:
        await made.settle()
        yield made


async def judged(page: "Page") -> None:
    """Hold a page to axe, light and dark, and to its width at 200 %, which is half the room."""
    width = WIDTH[page.url.rsplit("/", 1)[1]]
    await page.evaluate(axe())
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        assert await page.evaluate(AXE) == [], scheme
    await page.set_viewport_size({"width": width // 2, "height": 340})
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) <= 0
    await page.set_viewport_size({"width": width, "height": 680})


async def test_the_pages_are_for_everyone(stage: Stage, origin: str) -> None:
    """No finding of axe, no text cut off at 200 %: empty, in use, asking, in both languages."""
    browser = cast(Chromium, stage.browser)
    await judged(await stage.options())
    await seal(stage)
    tab = await stage.options()
    told = await stage.state()
    saved = f"chrome.runtime.sendMessage({{type: 'saved', id: '{told['identities'][0]['id']}'}})"
    await browser.evaluate(tab, saved)
    page = await browser.open(origin)
    await stage.answered(page, "window.nostr.getPublicKey()", "always")
    for language, deny in (("en", "Deny"), ("de", "Ablehnen")):
        tab = await stage.options()
        settings = f"{{type: 'settings', settings: {{language: '{language}'}}}}"
        await browser.evaluate(tab, f"chrome.runtime.sendMessage({settings})")
        tab = await stage.options()
        assert await browser.evaluate(tab, "document.documentElement.lang") == language
        await judged(tab)
        popup = await browser.open(f"{browser.own}popup.html")
        await popup.wait_for_selector("h1")
        await judged(popup)
        await popup.close()
        for expression in (
            "window.nostr.signEvent({kind: 5, content: '\\u202e', tags: [['e', 'a1']]})",
            f"window.nostr.nip44.decrypt('{PEER}', 'A'.repeat(132))",
        ):
            task = asyncio.create_task(stage.call(page, expression))
            prompt: Any = await stage.prompt()
            await judged(prompt)
            assert await prompt.get_by_role("button", name=deny, exact=True).is_visible()
            await stage.press(prompt, "deny")
            assert str(await task).startswith("refused: denied"), expression


async def enter(prompt: "Page") -> None:
    """Press Enter; the window may be gone before that has come back."""
    from playwright.async_api import Error

    with contextlib.suppress(Error):
        await prompt.keyboard.press("Enter")


async def test_a_question_is_answered_by_the_keyboard(stage: Stage, origin: str) -> None:
    """The focus is on the no; the passphrase field has it when the key is locked, Enter allows."""
    page = await stage.browser.open(origin)
    expression = "window.nostr.signEvent({kind: 1, content: 'typed', tags: []})"
    task = asyncio.create_task(stage.call(page, expression))
    prompt: Any = await stage.prompt()
    await prompt.wait_for_function("document.activeElement?.value === 'deny'")
    await enter(prompt)
    assert str(await task).startswith("refused: denied")
    await lock(stage)
    task = asyncio.create_task(stage.call(page, expression))
    prompt = await stage.prompt()
    await prompt.wait_for_function("document.activeElement?.type === 'password'")
    await prompt.keyboard.type(PASSPHRASE)
    await enter(prompt)
    assert (await task)["content"] == "typed"


async def test_the_badge_counts_and_the_popup_locks(stage: Stage, origin: str) -> None:
    """The button in the bar shows how many wait; its popup brings the question up, and locks."""
    page = await stage.browser.open(origin)
    expression = "window.nostr.signEvent({kind: 1, content: 'counted', tags: []})"
    task = asyncio.create_task(stage.call(page, expression))
    prompt: Any = await stage.prompt()
    popup: Any = await stage.browser.open(f"{stage.browser.own}popup.html")
    await popup.wait_for_selector("h1")
    assert await popup.evaluate("chrome.action.getBadgeText({})") == "1"
    assert await popup.get_by_role("button").all_inner_texts() == [
        "Zeigen",
        "Jetzt sperren",
        "Einstellungen",
    ]
    await popup.get_by_role("button", name="Jetzt sperren").click()
    await popup.get_by_role("button", name="Jetzt sperren").wait_for(state="detached")
    assert (await stage.state())["identities"][0]["locked"]
    await stage.press(prompt, "deny")
    await task
    assert await popup.evaluate("chrome.action.getBadgeText({})") == ""
