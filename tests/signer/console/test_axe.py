"""axe-core finds no fault on any page, in either colour scheme, and the keyboard reaches all."""

from typing import TYPE_CHECKING, Any

import pytest

from bunker_client import RemoteSigner, RequestDenied
from bunker_core.nip46 import ClientMetadata
from bunker_signer.policy import Profile
from signer.console._stage import DESK, PHONE, Stage, axe, bind, key_of, sign, visitor

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUN = "axe.run(document, { resultTypes: ['violations'] })"


async def faults(page: "Page") -> list[str]:
    """Return what axe-core finds, of every weight."""
    # Through the page's own world, past its CSP as an extension would be.
    await page.evaluate(axe())
    found = await page.evaluate(RUN)
    assert found["violations"] is not None
    return [
        f"{fault['impact']}: {fault['id']}: {node['target']}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", PHONE), ("dark", DESK)], ids=["phone-light", "desk-dark"]
)
async def test_no_fault(
    chromium: "Browser", on: Stage, scheme: str, viewport: dict[str, int]
) -> None:
    """Every page, also with a question, its answers open, and after it."""
    options: dict[str, Any] = {
        "color_scheme": scheme,
        "viewport": viewport,
        "reduced_motion": "reduce",
    }
    uri = await on.new_uri(Profile.BASIC)
    about = ClientMetadata("Notes")
    found: dict[str, list[str]] = {}
    async with (
        visitor(chromium, on.origin, **options) as page,
        RemoteSigner.from_uri(uri, metadata=about) as app,
    ):
        link = await on.new_link()
        await page.goto(f"{on.origin}/login")
        found["login"] = await faults(page)
        await page.goto(link)
        found["bind"] = await faults(page)
        await bind(page, link)
        found["empty"] = await faults(page)
        await sign(app, "for the log")
        signing = sign(app, '{"name":"Anna"}', kind=0, tags=[["t", "x"]])
        await page.locator("fieldset:not(:disabled)").wait_for()
        found["question"] = await faults(page)
        await page.get_by_text("Allow for longer…").click()
        found["answers"] = await faults(page)
        await page.get_by_role("button", name="Deny").click()
        await page.wait_for_url("**done=denied")
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
            "offline",
            "nothing",
            f"requests/{'0' * 64}",
        ):
            await page.goto(f"{on.origin}/{path}")
            found[path[:20]] = await faults(page)
        await page.goto(f"{on.origin}/apps/new")
        await page.get_by_role("button", name="Show the code").click()
        await page.locator("svg.qr").wait_for()
        found["invite"] = await faults(page)
    print(f"axe-core, {scheme}: {len(found)} pages, {sum(map(len, found.values()))} faults")
    assert {path: list_ for path, list_ in found.items() if list_} == {}


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
        assert "button-name" in found
        assert "color-contrast" in found


async def test_answer_by_keyboard(chromium: "Browser", on: Stage) -> None:
    """Tab reaches each answer, Enter gives it."""
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
        assert "Deny" in reached
        assert any("Allow for longer" in text for text in reached)
        await page.keyboard.press("Enter")
        assert (await signing).content == "by keyboard"
