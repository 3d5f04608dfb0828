"""`window.nostr` in a real Chromium, from the page to the sealed key and back."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from bunker_core.event import parse_event, verify
from signer.console._stage import FLAGS, bunker, chromium

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

PEER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
PAGE = b"""<!doctype html><meta charset="utf-8"><title>An app</title><p>An app</p>
<iframe src="/inner"></iframe>"""


class Site(BaseHTTPRequestHandler):
    """A web site with one page, and the same in a frame."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE if self.path == "/" else b"<!doctype html><title>inner</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The site's origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# What no test has a standing answer for.
FORTUNE = "window.nostr.signEvent({kind: 1077, content: '', tags: []})"


@dataclass(slots=True)
class Setup:
    """A key, and a browser with the extension, as the commands make them."""

    folder: Path
    context: "BrowserContext"
    pubkey: str

    async def command(self, *arguments: str) -> str:
        return await run("nip07", *arguments, "--directory", str(self.folder / "nip07"))


async def run(*arguments: str) -> str:
    """Run `bunker ...`; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        bunker(),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    """The commands of the documentation: a key, the host, the extension."""
    program = chromium()
    from playwright.async_api import async_playwright

    folder = tmp_path_factory.mktemp("nip07")
    profile = folder / "profile"
    await run("key", "new", "--data", str(folder / "signer"))
    await run(
        *("nip07", "install", "--signer", f"nse:{folder / 'signer'}"),
        *("--browser", "chromium", "--profile", str(profile)),
        *("--directory", str(folder / "nip07")),
    )
    pubkey = (await run("whoami", "--uri", f"nse:{folder / 'signer'}", "--json")).split('"')[3]
    extension = folder / "nip07" / "extension"
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=program,
            headless=True,
            args=[
                *FLAGS,
                f"--load-extension={extension}",
                f"--disable-extensions-except={extension}",
            ],
            ignore_default_args=["--disable-extensions"],
        )
        context.set_default_timeout(20_000)
        try:
            yield Setup(folder, context, pubkey)
        finally:
            await context.close()


@asynccontextmanager
async def visited(setup: Setup, site: str) -> AsyncIterator["Page"]:
    """Open the site in a page of its own."""
    page = await setup.context.new_page()
    try:
        await page.goto(site)
        yield page
    finally:
        await page.close()


async def call(page: "Page", expression: str) -> Any:
    """Evaluate in the page; an error comes as its text."""
    return await page.evaluate(f"{expression}.catch((error) => 'refused: ' + error.message)")


async def answered(setup: Setup, page: "Page", expression: str, button: str) -> Any:
    """Call, answer the question in its window, return what the page gets."""
    async with setup.context.expect_page() as opened:
        task = asyncio.ensure_future(call(page, expression))
    await press(await opened.value, button)
    return await task


async def press(prompt: "Page", button: str) -> None:
    """Answer a question; its window may be gone before the click has come back."""
    from playwright.async_api import Error

    try:
        await prompt.get_by_role("button", name=button).click()
    except Error:
        if not prompt.is_closed():
            raise


@pytest.mark.asyncio(loop_scope="module")
async def test_a_site_signs_encrypts_and_reads_once_the_user_agreed(
    setup: Setup, site: str
) -> None:
    """Every method of NIP-07 works, each after its own question, and the events verify."""
    async with visited(setup, site) as page:
        found = await answered(setup, page, "window.nostr.getPublicKey()", "Always allow")
        assert found == setup.pubkey
        note = "window.nostr.signEvent({kind: 1, content: 'hi', tags: [], created_at: 1790000000})"
        event = verify(parse_event(await answered(setup, page, note, "Allow once")))
        assert (event.pubkey, event.content, event.created_at) == (setup.pubkey, "hi", 1790000000)
        for name in ("nip44", "nip04"):
            to = f"window.nostr.{name}.encrypt('{PEER}', 'for you')"
            payload = await answered(setup, page, to, "Allow for an hour")
            back = f"window.nostr.{name}.decrypt('{PEER}', '{payload}')"
            assert await answered(setup, page, back, "Allow once") == "for you"
        assert await call(page, "window.nostr.getPublicKey()") == setup.pubkey  # not asked again
        listed = await setup.command("sites")
        assert f"{site}  get_public_key  allowed" in listed
        assert f"{site}  nip44_encrypt  allowed until" in listed
        assert "sign_event" not in listed


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_page_hands_over_is_read_as_the_page_sees_it(setup: Setup, site: str) -> None:
    """Proxies, functions, getters: signed as they read. What is no JSON: the page's own error."""
    event = "{kind: 1, get content() { return 'seen' }, tags: [], created_at: 1, f() {}}"
    async with visited(setup, site) as page:
        for made in (event, f"new Proxy({event}, {{}})"):
            signed = await answered(setup, page, f"window.nostr.signEvent({made})", "Allow once")
            assert (signed["content"], signed["kind"]) == ("seen", 1)
        for wrong, said in (
            ("window.nostr.signEvent({kind: 1n})", "BigInt"),
            (
                "window.nostr.signEvent((() => { let e = {}; return e.tags = e })())",
                "circular",
            ),
            ("window.nostr.signEvent({kind: 1, content: '\\ud83d'})", "not Unicode"),
            (f"window.nostr.nip04.encrypt('{PEER}', '\\ud800')", "not Unicode"),
            (f"window.nostr.nip44.encrypt('{PEER}', 'x'.repeat(2000000))", "larger than"),
        ):
            assert said in await call(page, wrong), wrong
        other = "window.nostr.signEvent({kind: 1, content: '', tags: [], pubkey: 'ab'.repeat(32)})"
        assert "another author" in await answered(setup, page, other, "Allow once")
        # The host lives: the next question is asked and answered.
        assert isinstance(await answered(setup, page, FORTUNE, "Allow once"), dict)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_that_goes_round_its_script_ends_nobody_elses_signer(
    setup: Setup, site: str
) -> None:
    """Half an emoji and two megabytes, posted past page.js: refused, and the host lives."""
    posted = """new Promise((resolve) => {
        addEventListener("message", ({data}) => data.error && resolve(data.error));
        postMessage({nostrBunker: "call", id: "x", method: "nip44.encrypt", params: ["p", TEXT]},
            location.origin);
    })"""
    async with visited(setup, site) as page:
        for text in ("'\\ud83d'", "'x'.repeat(2000000)"):
            error = await page.evaluate(posted.replace("TEXT", text))
            assert "too large, or not Unicode" in error
        assert isinstance(await answered(setup, page, FORTUNE, "Allow once"), dict)


@pytest.mark.asyncio(loop_scope="module")
async def test_no_is_an_error_that_the_page_can_show(setup: Setup, site: str) -> None:
    """Denied by a button, denied by closing the window, and never again."""
    expression = "window.nostr.signEvent({kind: 7, content: '+', tags: []})"
    refused = "refused: denied: the user does not allow it"
    async with visited(setup, site) as page:
        assert await answered(setup, page, expression, "Deny") == refused
        async with setup.context.expect_page() as opened:
            task = asyncio.ensure_future(call(page, expression))
        await (await opened.value).close()
        assert await task == refused
        assert await answered(setup, page, expression, "Never allow") == refused
        assert await call(page, expression) == refused  # without a question
        await setup.command("forget", site)
        assert isinstance(await answered(setup, page, expression, "Allow once"), dict)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_site_says_is_shown_as_text(setup: Setup, site: str) -> None:
    """Markup in a content is read, not carried out, and the site is named by the browser."""
    expression = (
        "window.nostr.signEvent({kind: 1, tags: [['t', 'x']],"
        " content: '<img src=x onerror=alert(1)>\\u202egnp', origin: 'https://bank.example'})"
    )
    async with visited(setup, site) as page:
        async with setup.context.expect_page() as opened:
            task = asyncio.ensure_future(call(page, expression))
        prompt = await opened.value
        heading = await prompt.get_by_role("heading").inner_text()
        assert heading == f"{site} wants to post a note"
        assert await prompt.locator("#content").inner_text() == (
            "<img src=x onerror=alert(1)>\u202egnp"
        )
        assert await prompt.locator("#insecure").is_visible()
        assert await prompt.locator("img").count() == 0
        await press(prompt, "Deny")
        assert str(await task).startswith("refused: denied")


@pytest.mark.asyncio(loop_scope="module")
async def test_frames_have_no_signer(setup: Setup, site: str) -> None:
    """What a page embeds can't ask in the page's name."""
    async with visited(setup, site) as page:
        inner = page.frames[1]
        assert await inner.evaluate("typeof window.nostr") == "undefined"
        assert await page.evaluate("typeof window.nostr") == "object"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_that_posts_messages_reaches_no_further(setup: Setup, site: str) -> None:
    """Whatever a script posts in the extension's name is an error, and the extension goes on."""
    async with visited(setup, site) as page:
        assert str(await call(page, "window.nostr.signEvent('x')")).startswith("refused: invalid:")
        found = await page.evaluate(
            """() => new Promise((resolve) => {
                addEventListener("message", (event) => {
                    if (event.data?.nostrBunker === "reply") resolve(event.data.error);
                });
                postMessage({nostrBunker: "call", id: 7, method: "eval", params: {length: 1e9}});
            })"""
        )
        assert found.startswith("invalid: unsupported:")
        other = "typeof chrome === 'undefined' || typeof chrome.runtime?.sendMessage"
        assert await page.evaluate(other) in (True, "undefined")
