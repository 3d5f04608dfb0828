"""`window.nostr` in a real Firefox, from the page to the sealed key and back."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from _require import need
from bunker_core.event import parse_event, verify
from client.nip07._bidi import Firefox, firefox
from signer.console._stage import bunker

PEER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
PAGE = b"""<!doctype html><meta charset="utf-8"><title>An app</title>
<script>window.early = typeof window.nostr</script><p>An app</p><iframe src="/inner"></iframe>"""


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


@dataclass(slots=True)
class Setup:
    """A key, and a Firefox with the extension, as the commands make them."""

    folder: Path
    browser: Firefox
    pubkey: str

    async def call(self, page: str, expression: str) -> Any:
        """Evaluate in a page; an error comes as its text."""
        return await self.browser.evaluate(
            page, f"{expression}.catch((error) => 'refused: ' + error.message)"
        )

    async def prompt(self) -> str:
        """Return the window with the question, once its buttons can be pressed."""

        async def ready() -> str:
            for found in await self.browser.contexts():
                if found["url"].startswith("moz-extension:"):
                    window = str(found["context"])
                    shown = "!document.body.hidden && !document.querySelector('button').disabled"
                    if await self.browser.evaluate(window, shown):
                        return window
            return ""

        return str(await self.browser.until(ready))

    async def press(self, window: str, button: str) -> None:
        """Press a button of a question and wait until its window is gone."""
        press = f"document.querySelector('button[value={button}]').click()"
        await self.browser.evaluate(window, press)

        async def gone() -> bool:
            return window not in {found["context"] for found in await self.browser.contexts()}

        await self.browser.until(gone)

    async def answered(self, page: str, expression: str, button: str) -> Any:
        """Call, answer the question in its window, return what the page gets."""
        task = asyncio.create_task(self.call(page, expression))
        await self.press(await self.prompt(), button)
        return await task


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
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    need(program, "Firefox")
    folder = tmp_path_factory.mktemp("firefox")
    await run("key", "new", "--data", str(folder / "signer"))
    await run(
        *("nip07", "install", "--signer", f"nse:{folder / 'signer'}", "--browser", "firefox"),
        *("--profile", str(folder / ".mozilla"), "--directory", str(folder / "nip07")),
    )
    pubkey = json.loads(await run("whoami", "--uri", f"nse:{folder / 'signer'}", "--json"))
    async with firefox(str(program), folder) as browser:
        extension = {"type": "path", "path": str(folder / "nip07" / "extension")}
        await browser.command("webExtension.install", extensionData=extension)
        yield Setup(folder, browser, str(pubkey["pubkey"]))


@pytest_asyncio.fixture(loop_scope="module")
async def page(setup: Setup, site: str) -> AsyncIterator[str]:
    """A tab with the site."""
    tab = await setup.browser.open(site)
    yield tab
    await setup.browser.close(tab)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_site_signs_encrypts_and_reads_once_the_user_agreed(
    setup: Setup, page: str, site: str
) -> None:
    """Every method of NIP-07 works, each after its own question, and the events verify."""
    found = await setup.answered(page, "window.nostr.getPublicKey()", "always")
    assert found == setup.pubkey
    note = "window.nostr.signEvent({kind: 1, content: 'hi', tags: [], created_at: 1790000000})"
    event = verify(parse_event(await setup.answered(page, note, "once")))
    assert (event.pubkey, event.content, event.created_at) == (setup.pubkey, "hi", 1790000000)
    for name in ("nip44", "nip04"):
        to = f"window.nostr.{name}.encrypt('{PEER}', 'for you')"
        payload = await setup.answered(page, to, "hour")
        back = f"window.nostr.{name}.decrypt('{PEER}', '{payload}')"
        assert await setup.answered(page, back, "once") == "for you"
    assert await setup.call(page, "window.nostr.getPublicKey()") == setup.pubkey  # not asked again
    listed = await run("nip07", "sites", "--directory", str(setup.folder / "nip07"))
    assert f"{site}  get_public_key  allowed" in listed
    assert f"{site}  nip44_encrypt  allowed until" in listed
    assert "sign_event" not in listed


@pytest.mark.asyncio(loop_scope="module")
async def test_no_is_an_error_that_the_page_can_show(setup: Setup, page: str) -> None:
    """Denied by a button, and denied by closing the window."""
    expression = "window.nostr.signEvent({kind: 7, content: '+', tags: []})"
    refused = "refused: denied: the user does not allow it"
    assert await setup.answered(page, expression, "deny") == refused
    task = asyncio.create_task(setup.call(page, expression))
    await setup.browser.close(await setup.prompt())
    assert await task == refused


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_site_says_is_shown_as_text(setup: Setup, page: str, site: str) -> None:
    """Markup in a content is read, not carried out, and the site is named by the browser."""
    expression = (
        "window.nostr.signEvent({kind: 1, tags: [['t', 'x']],"
        " content: '<img src=x onerror=alert(1)>', origin: 'https://bank.example'})"
    )
    task = asyncio.create_task(setup.call(page, expression))
    window = await setup.prompt()
    shown = await setup.browser.evaluate(window, "document.querySelector('main').innerText")
    assert site in shown
    assert "<img src=x onerror=alert(1)>" in shown
    assert await setup.browser.evaluate(window, "document.querySelectorAll('img').length") == 0
    await setup.press(window, "deny")
    assert str(await task).startswith("refused: denied")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_has_it_before_its_own_scripts_and_a_frame_never(
    setup: Setup, page: str
) -> None:
    """The first script of a page finds `window.nostr`; what it embeds can't ask in its name."""
    assert await setup.browser.evaluate(page, "window.early") == "object"
    tree = await setup.browser.command("browsingContext.getTree", root=page)
    [inner] = tree["contexts"][0]["children"]
    assert await setup.browser.evaluate(inner["context"], "typeof window.nostr") == "undefined"
    assert await setup.browser.evaluate(page, "typeof window.nostr") == "object"


@pytest.mark.asyncio(loop_scope="module")
async def test_two_tabs_are_asked_about_one_after_the_other(
    setup: Setup, page: str, site: str
) -> None:
    """Questions of two tabs wait for each other, and each tab gets its own answer."""
    other = await setup.browser.open(site)
    tasks = [
        asyncio.create_task(
            setup.call(tab, f"window.nostr.signEvent({{kind: 1, content: '{name}', tags: []}})")
        )
        for tab, name in ((page, "one"), (other, "two"))
    ]
    for _ in tasks:
        await setup.press(await setup.prompt(), "once")
    assert [(await task)["content"] for task in tasks] == ["one", "two"]
    await setup.browser.close(other)
