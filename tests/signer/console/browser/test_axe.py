"""axe-core finds no fault on any page, in either colour scheme, and the keyboard reaches all."""

from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from bunker_client import RemoteSigner, RequestDenied
from bunker_core.nips.bunker_uri import NostrConnectURI
from bunker_core.nips.nip46 import ClientMetadata, parse_permissions
from bunker_signer.console.view.texts import texts_of
from bunker_signer.policy import Profile
from signer.console._stage import (
    DESK,
    PHONE,
    Stage,
    axe,
    bind,
    follow,
    key_of,
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

    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A control inside a label is as large as its label.
SMALL = """[...document.querySelectorAll(
    'main a, main button, main summary, main select, main input:not([type=hidden]), nav a')]
  .map((element) => element.closest('label') ?? element)
  .filter((element) => element.checkVisibility() && element.getBoundingClientRect().height < 44)
  .map((element) => element.outerHTML.slice(0, 90))"""
RUN = "axe.run(document, { resultTypes: ['violations'] })"
LOOKS: Final[tuple[tuple[Literal["light", "dark"], Any], ...]] = (("light", PHONE), ("dark", DESK))
STILL: Final[dict[str, Any]] = {"reduced_motion": "reduce"}


async def faults(page: "Page") -> list[str]:
    """Return what axe-core finds, of every weight, on a light phone and on a dark desk."""
    await page.wait_for_load_state()
    await page.evaluate("document.fonts.ready.then(() => null)")
    # Through the page's own world, past its CSP as an extension would be.
    await page.evaluate(axe())
    found = []
    for scheme, viewport in LOOKS:
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size(viewport)
        violations = (await page.evaluate(RUN))["violations"]
        found += [
            f"{scheme}, {fault['impact']}: {fault['id']}: {node['target']}"
            for fault in violations
            for node in fault["nodes"]
        ]
    return found


async def test_no_fault(chromium: "Browser", on: Stage) -> None:
    """Every page, also with a question, its answers open, and after it."""
    uri = await on.new_uri(Profile.BASIC)
    about = ClientMetadata("Notes")
    found: dict[str, list[str]] = {}
    async with (
        visitor(chromium, on.origin, **STILL) as page,
        RemoteSigner.from_uri(uri, metadata=about) as app,
    ):
        link = await on.new_link()
        await page.goto(f"{on.origin}/login")
        found["login"] = await faults(page)
        await page.goto(link)
        found["bind"] = await faults(page)
        await scan(page, link)
        found["empty"] = await faults(page)
        await sign(app, "for the log")
        signing = sign(app, '{"name":"Anna"}', kind=0, tags=[["t", "x"]])
        await page.locator("fieldset:not(:disabled)").wait_for()
        found["question"] = await faults(page)
        await page.get_by_text("Allow for longer…").click()
        found["answers"] = await faults(page)
        await tap(page, "Deny")
        assert page.url.endswith("done=denied")
        found["done"] = await faults(page)
        with pytest.raises(RequestDenied):
            await signing
        for path in (
            "apps",
            f"apps/default/{key_of(app)}",
            "apps/new",
            "keys",
            "activity",
            "health",
            "devices",
            "stop",
            "offline",
            "nothing",
            f"requests/{'0' * 64}",
        ):
            await page.goto(f"{on.origin}/{path}")
            found[path[:20]] = await faults(page)
        await page.goto(f"{on.origin}/apps/new")
        await tap(page, "Show the code")
        await page.locator("svg.qr").wait_for()
        found["invite"] = await faults(page)
        await page.goto(f"{on.origin}/devices")
        await tap(page, "Add a device")
        await page.locator("svg.qr").wait_for()
        found["link"] = await faults(page)
        await page.goto(f"{on.origin}/apps/new")
        await page.get_by_label("Or its address, pasted").fill(theirs())
        await tap(page, "Continue")
        await page.get_by_role("heading", name="Pair this app?").wait_for()
        found["review"] = await faults(page)
        await page.goto(f"{on.origin}/keys")
        await sure(page, "Lock", "Lock now")
        await page.get_by_text("The key is locked").wait_for()
        found["locked"] = await faults(page)
        await tap(page, "Unlock")
        await page.get_by_text("The key is unlocked").wait_for()
    print(f"axe-core: {len(found)} pages, {sum(map(len, found.values()))} faults")
    assert {path: list_ for path, list_ in found.items() if list_} == {}


def theirs() -> str:
    """Return the address of an app that wants to be paired."""
    about = ClientMetadata("Habla", "https://habla.example")
    wishes = parse_permissions("sign_event:1,nip44_decrypt")
    return str(NostrConnectURI("ab" * 32, ("wss://relay.example",), "s3cr3t", wishes, about))


async def test_no_fault_after_a_panic(chromium: "Browser", relay_url: str, folder: "Path") -> None:
    """The last page that a device sees, on a signer of its own: everything is off then."""
    async with stage(relay_url, folder) as on, visitor(chromium, on.origin, **STILL) as page:
        await bind(page, await on.new_link())
        await page.goto(f"{on.origin}/stop")
        await tap(page, "Panic")
        await page.get_by_role("heading", name="Everything is off").wait_for()
        assert await faults(page) == []


async def test_axe_finds_what_is_there(chromium: "Browser", on: Stage) -> None:
    """The check itself: a button without a name and grey on grey are found."""
    async with visitor(chromium, on.origin) as page:
        await page.goto(f"{on.origin}/login")
        await page.evaluate(
            "{ const main = document.querySelector('main'); main.append("
            "document.createElement('button')); const grey = document.createElement('p');"
            "grey.style.color = '#ccc'; grey.textContent = 'faint'; main.append(grey) }"
        )
        found = " ".join(await faults(page))
        for scheme, _ in LOOKS:
            assert f"{scheme}, critical: button-name" in found
        assert "light, serious: color-contrast" in found  # on the dark page it is legible


async def test_a_thumb_hits_it(chromium: "Browser", on: Stage) -> None:
    """What can be tapped on a phone is 44 pixels high, and nothing sticks out, also in German."""
    async with visitor(chromium, on.origin, locale="de-DE") as page, paired(on) as app:
        await page.goto(await on.new_link())
        await follow(page.get_by_role("button"))
        signing = sign(app, "small?")
        await page.locator("fieldset:not(:disabled)").wait_for()
        small: dict[str, list[str]] = {}
        for path in ("", "apps", f"apps/default/{key_of(app)}", "apps/new", "keys", "activity",
                     "health", "devices", "stop"):  # fmt: skip
            if path:
                await page.goto(f"{on.origin}/{path}")
            else:
                await page.locator(".longer summary").click()
            small[path] = await page.evaluate(SMALL)
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        await page.goto(f"{on.origin}/requests")
        await tap(page, texts_of("de")("answer.deny"))
        with pytest.raises(RequestDenied):
            await signing
        assert {path: list_ for path, list_ in small.items() if list_} == {}


async def test_answer_by_keyboard(chromium: "Browser", on: Stage) -> None:
    """Tab reaches the content and each answer, in the order of the page; Enter gives it."""
    async with (
        visitor(chromium, on.origin, viewport=DESK) as page,
        RemoteSigner.from_uri(await on.new_uri()) as app,
    ):
        await bind(page, await on.new_link())
        signing = sign(app, "by keyboard")
        await page.locator("fieldset:not(:disabled)").wait_for()
        reached = []
        for _ in range(30):
            await page.keyboard.press("Tab")
            reached.append(await page.evaluate("document.activeElement.textContent.trim()"))
            if reached[-1] == "Allow once":
                break
        assert reached[0] == "Skip to content"
        longer = next(place for place, text in enumerate(reached) if "Allow for longer" in text)
        order = [reached.index("by keyboard"), longer, reached.index("Deny"), len(reached) - 1]
        assert order == sorted(order)
        ring = "getComputedStyle(document.activeElement)"
        assert await page.evaluate(f"{ring}.outlineStyle !== 'none'")  # seen where it is
        await page.keyboard.press("Enter")
        assert (await signing).content == "by keyboard"
