"""Stop, unlock, undo, and what is lost if one is careless: each as a person meets it."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from bunker_client import RemoteSigner, RequestDenied
from bunker_core.keys import SecretKey
from bunker_signer.policy import Profile
from signer.console._stage import (
    Stage,
    bind,
    follow,
    http,
    key_of,
    paired,
    sign,
    stage,
    tap,
    visitor,
)

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


def people(count: int) -> list[list[str]]:
    return [["p", SecretKey.generate().pubkey] for _ in range(count)]


async def test_a_locked_key_is_unlocked_and_allowed(chromium: "Browser", on: Stage) -> None:
    """The card says that the key is locked; one tap opens it and lets the app have its answer."""
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        await on.command("lock")
        signing = sign(app, "opened by the answer")
        await phone.get_by_text("The key is locked. Allowing this unlocks it.").wait_for()
        await tap(phone, "Unlock and allow")
        assert (await signing).content == "opened by the answer"
        assert "unlocked" in json.dumps(json.loads(await on.command("status", "--json")))


async def test_what_waits_for_an_unlock_is_said(chromium: "Browser", on: Stage) -> None:
    """A request that a permission covers asks nobody; that it waits is on the page."""
    uri = await on.new_uri(Profile.BASIC)
    async with visitor(chromium, on.origin) as phone, RemoteSigner.from_uri(uri) as app:
        await bind(phone, await on.new_link())
        await on.command("lock")
        signing = sign(app, "patience")
        await phone.get_by_text("1 request waits for the key default").wait_for()
        await tap(phone, "Unlock", role="link")
        await tap(phone, "Unlock")
        assert (await signing).content == "patience"


async def test_pause_and_resume(chromium: "Browser", on: Stage) -> None:
    """One tap from every page; what is asked meanwhile is refused and not queued."""
    uri = await on.new_uri(Profile.BASIC)
    async with visitor(chromium, on.origin) as phone, RemoteSigner.from_uri(uri) as app:
        await bind(phone, await on.new_link())
        for path in ("requests", "apps", "keys", "activity", "health", "devices"):
            await phone.goto(f"{on.origin}/{path}")
            assert await phone.get_by_role("link", name="Stop").is_visible()
        await tap(phone, "Stop", role="link")
        await tap(phone, "Pause")
        await phone.get_by_text("Paused: everything is refused").wait_for()
        with pytest.raises(Exception, match="paused"):
            await sign(app, "refused")
        await tap(phone, "Resume")
        await phone.get_by_text("Going on").wait_for()
        assert (await sign(app, "again")).kind == 1


async def test_panic_from_the_phone(chromium: "Browser", relay_url: str, folder: "Path") -> None:
    """It says what it will do, does it, and this phone is out as well."""
    async with (
        stage(relay_url, folder) as on,
        visitor(chromium, on.origin) as phone,
        paired(on) as app,
    ):
        await bind(phone, await on.new_link())
        waiting = sign(app, "too late")
        await phone.locator(".question").wait_for()
        await tap(phone, "Stop", role="link")
        await phone.get_by_text("ends the access of all apps (1)").wait_for()
        await tap(phone, "Panic")
        await phone.get_by_role("heading", name="Everything is off").wait_for()
        with pytest.raises(RequestDenied):
            await waiting
        await phone.goto(f"{on.origin}/requests")
        await phone.get_by_role("heading", name="This device is not bound").wait_for()
        status = json.loads(await on.command("status", "--json"))
        assert status["keys"][0]["state"] == "locked"
        with pytest.raises(RequestDenied):
            await sign(app)


async def test_always_can_be_undone(chromium: "Browser", on: Stage) -> None:
    """The answer says what was given, and takes it back in one tap."""
    async with visitor(chromium, on.origin) as phone, paired(on, "Habla") as app:
        await bind(phone, await on.new_link())
        signing = sign(app, "first")
        await phone.get_by_text("Allow for longer…").click()
        await follow(phone.locator("button[value=always]"))
        await signing
        toast = phone.locator(".toast")
        assert "Habla may always do this without asking: Post a note" in await toast.inner_text()
        assert (await sign(app, "without asking")).content == "without asking"
        await tap(phone, "Undo")
        await phone.get_by_text("The permission is taken back").wait_for()
        asked = sign(app, "asks again")
        await tap(phone, "Deny")
        with pytest.raises(RequestDenied):
            await asked


async def test_a_follow_list_that_shrinks(chromium: "Browser", on: Stage) -> None:
    """What would be lost is said in words, and takes one tap more; the server insists on it."""
    follows = people(30)
    async with (
        visitor(chromium, on.origin) as phone,
        http(on) as browser,
        paired(on) as app,
    ):
        await bind(phone, await on.new_link())
        signing = sign(app, "", kind=3, tags=follows)
        await phone.get_by_text("You would follow 30 people.").wait_for()
        await tap(phone, "Allow once")
        await signing
        signing = sign(app, "", kind=3, tags=follows[:4])
        await phone.get_by_text("26 fewer than now.").wait_for()
        assert await phone.get_by_text("More than a fifth of the list would be gone.").is_visible()
        question = await phone.locator(".question").get_attribute("data-id")
        fields = {
            name: await phone.locator(f".answers input[name={name}]").get_attribute("value")
            for name in ("csrf", "seen")
        }
        (cookie,) = await phone.context.cookies()
        browser.cookies.set("device", str(cookie["value"]))
        answer = await browser.post(f"/requests/{question}", data={**fields, "answer": "once"})
        assert answer.status_code == 409
        assert not signing.done()
        await phone.get_by_label("I have read what would be lost").check()
        await tap(phone, "Allow once")
        assert len((await signing).tags) == 4


async def test_a_text_to_encrypt_is_on_the_card(chromium: "Browser", on: Stage) -> None:
    """With whom, and what."""
    peer = SecretKey.generate().pubkey
    async with visitor(chromium, on.origin) as phone, paired(on) as app:
        await bind(phone, await on.new_link())
        asking: Any = asyncio.create_task(app.nip44_encrypt(peer, "meet me at noon"))
        await phone.get_by_text("meet me at noon").wait_for()
        await tap(phone, "Allow once")
        assert await asking


async def test_an_answer_stays_on_the_page(
    chromium: "Browser", relay_url: str, folder: "Path"
) -> None:
    """The signer is gone: the page says so, keeps its buttons, and comes back by itself."""
    async with stage(relay_url, folder) as on, visitor(chromium, on.origin, worker=True) as phone:
        port = on.origin.rpartition(":")[2]
        await bind(phone, on.link)
        async with paired(on) as app:
            signing = sign(app, "still here")
            await phone.locator("fieldset:not(:disabled)").wait_for()
            await on.signer.kill()
            await phone.get_by_role("button", name="Allow once").click()  # and stays
            await phone.get_by_text("Your answer is not sent").wait_for()
            assert await phone.get_by_role("button", name="Allow once").is_enabled()
            console = ("--console", f"127.0.0.1:{port}")
            async with stage(relay_url, folder, console):
                await phone.locator("#offline").wait_for(state="hidden")
                await tap(phone, "Allow once")
                assert (await signing).content == "still here"


async def test_how_to_bind_comes_first(chromium: "Browser", on: Stage) -> None:
    """Without a passkey nothing is offered that can't work."""
    async with visitor(chromium, on.origin) as phone:
        await phone.goto(f"{on.origin}/login")
        assert await phone.get_by_text("bunker signer console").is_visible()
        assert await phone.get_by_role("button").count() == 0


# In one turn of the page's script: what comes in live can't change it between two looks. Its width,
# its smallest letters, and how far to the left a section is that was scrolled to.
LOOKED_AT = """(size) => {
  document.documentElement.style.fontSize = size;
  const letters = [...document.querySelectorAll("nav a span, main p, main h1, main button")];
  const sections = [...document.querySelectorAll("nav a")].map((link) => {
    link.scrollIntoView({ block: "nearest", inline: "nearest" });
    return link.getBoundingClientRect().x;
  });
  return [
    document.documentElement.scrollWidth,
    Math.min(...letters.map((item) => parseFloat(getComputedStyle(item).fontSize))),
    Math.min(...sections),
  ];
}"""
SIZES = ((390, 844, "200%"), (320, 640, "100%"), (195, 422, "100%"))


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
async def test_large_letters_and_narrow_screens(
    chromium: "Browser", on: Stage, locale: str
) -> None:
    """Nothing sticks out, every letter grows, and every section can be reached."""
    async with visitor(chromium, on.origin, locale=locale) as phone, paired(on) as app:
        await phone.goto(await on.new_link())
        await follow(phone.locator("button"))
        signing = sign(app, "large?")
        await phone.locator("fieldset:not(:disabled)").wait_for()
        paths = ("", "apps", f"apps/default/{key_of(app)}", "apps/new", "keys", "activity",
                 "health", "devices", "stop")  # fmt: skip
        for path in paths:
            if path:
                await phone.goto(f"{on.origin}/{path}")
            for width, height, text in SIZES:
                await phone.set_viewport_size({"width": width, "height": height})
                wide, small, left = await phone.evaluate(LOOKED_AT, text)
                assert wide <= width, (path, width)
                assert small >= (22 if text == "200%" else 11), (path, width)
                assert left >= -1, (path, width)
        await phone.goto(f"{on.origin}/requests")
        await follow(phone.locator("button[value=deny]"))
        with pytest.raises(RequestDenied):
            await signing
