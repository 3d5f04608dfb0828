"""The extension's own pages: for everyone, in both languages, light and dark, large and small."""

import asyncio
from typing import Any

import pytest

from client.nip07._browsers import until
from client.nip07._stage import PEER, Stage
from client.nip07.browser.test_sealed import PASSPHRASE, lock, seal
from signer.console._stage import axe

pytestmark = pytest.mark.asyncio(loop_scope="module")
# Of what is dark the colours alone are judged: the rest is what it was.
RULES = {
    "light": "['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']",
    "dark": "['color-contrast']",
}
AXE = """axe.run(document, {{runOnly: {rules}}})
    .then(({{violations}}) => violations.map(({{id, nodes}}) => `${{id}}: ${{nodes[0].html}}`))"""
# What a page has at 100 %; a popup grows with what is in it.
WIDTH = {"options.html": 900, "prompt.html": 460, "popup.html": 640}


async def judged(stage: Stage, tab: Any, name: str) -> None:
    """Hold a page to axe, light and dark, and to its width at 200 %, which is half the room."""
    browser, width = stage.browser, WIDTH[name]
    if not await browser.evaluate(tab, "!!window.axe"):
        await browser.evaluate(tab, f"(() => {{{axe()}}})()")
    for scheme, rules in RULES.items():
        await browser.scheme(tab, scheme)
        assert await browser.evaluate(tab, AXE.format(rules=rules)) == [], scheme
    await browser.size(tab, width // 2, 340)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await browser.evaluate(tab, wide) <= 0
    await browser.size(tab, width, 680)


async def popup_of(stage: Stage) -> Any:
    """Open what the button in the bar shows, in a tab."""
    tab = await stage.browser.open_own("popup.html", await stage.options())
    await stage.see(tab, "h1")
    return tab


async def buttons(stage: Stage, tab: Any) -> list[str]:
    """Return the names of the buttons that are to be seen."""
    seen = """[...document.querySelectorAll('button')].filter((b) => b.checkVisibility() &&
        b.getBoundingClientRect().bottom <= innerHeight).map((b) => b.innerText.trim())"""
    return list(await stage.browser.evaluate(tab, seen))


async def test_the_pages_are_for_everyone(stage: Stage, page: Any) -> None:
    """No finding of axe, no text cut off at 200 %: empty, in use, asking, in both languages."""
    browser = stage.browser
    await judged(stage, await stage.options(), "options.html")
    await seal(stage)
    await stage.tell("saved", id=(await stage.state())["identities"][0]["id"])
    await stage.answered(page, "window.nostr.getPublicKey()", "always")
    for language, deny in (("en", "Deny"), ("de", "Ablehnen")):
        await stage.tell("settings", settings={"language": language})
        tab = await stage.options()
        assert await browser.evaluate(tab, "document.documentElement.lang") == language
        await judged(stage, tab, "options.html")
        popup = await popup_of(stage)
        await judged(stage, popup, "popup.html")
        await browser.close(popup)
        for expression in (
            "window.nostr.signEvent({kind: 5, content: '\\u202e', tags: [['e', 'a1']]})",
            f"window.nostr.nip44.decrypt('{PEER}', 'A'.repeat(132))",
        ):
            task = asyncio.create_task(stage.call(page, expression))
            prompt = await stage.asked_by(task)
            await judged(stage, prompt, "prompt.html")
            assert deny in await buttons(stage, prompt)
            await stage.press(prompt, "deny")
            assert str(await task).startswith("refused: denied"), expression


async def test_a_question_is_answered_by_the_keyboard(stage: Stage, page: Any) -> None:
    """The focus is on the no; the passphrase field has it when the key is locked, Enter allows."""
    browser = stage.browser
    expression = "window.nostr.signEvent({kind: 1, content: 'typed', tags: []})"
    task = asyncio.create_task(stage.call(page, expression))
    prompt = await stage.prompt()
    focus = "document.activeElement?.value === 'deny'"
    await until(lambda: browser.evaluate(prompt, focus))
    await stage.enter(prompt)
    assert str(await task).startswith("refused: denied")
    await lock(stage)
    task = asyncio.create_task(stage.call(page, expression))
    prompt = await stage.prompt()
    focus = "document.activeElement?.type === 'password'"
    await until(lambda: browser.evaluate(prompt, focus))
    await browser.type(prompt, PASSPHRASE)
    await stage.enter(prompt)
    assert (await task)["content"] == "typed"


async def test_the_badge_counts_and_the_popup_locks(stage: Stage, page: Any) -> None:
    """The button in the bar shows how many wait; its popup brings the question up, and locks."""
    browser = stage.browser
    expression = "window.nostr.signEvent({kind: 1, content: 'counted', tags: []})"
    task = asyncio.create_task(stage.call(page, expression))
    prompt = await stage.asked_by(task)
    popup = await popup_of(stage)
    badge = "chrome.action.getBadgeText({})"
    await until(lambda: browser.evaluate(popup, f"{badge}.then((text) => text === '1')"))
    assert await buttons(stage, popup) == ["Zeigen", "Jetzt sperren", "Einstellungen"]
    await stage.click(popup, "Jetzt sperren")

    async def locked() -> bool:
        return "Jetzt sperren" not in await buttons(stage, popup)

    await until(locked)
    assert (await stage.state())["identities"][0]["locked"]
    await stage.press(prompt, "deny")
    await task
    await until(lambda: browser.evaluate(popup, f"{badge}.then((text) => text === '')"))
    await browser.close(popup)
