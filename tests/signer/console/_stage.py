"""The console on stage: a relay, a signer with its console, apps that ask, Chromium to look at it.

All of them are what a user has: processes, started by their own commands.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import httpx

from bunker.harness import RunningSigner, running_signer
from bunker_client import RemoteSigner
from bunker_core.nips.nip46 import ClientMetadata
from bunker_signer.console.server import new_link
from bunker_signer.control.protocol import send
from bunker_signer.policy import Profile, profile_grants
from support.commands import printed
from support.require import need

if TYPE_CHECKING:
    from playwright.async_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Locator,
        Page,
        Request,
    )

    from bunker_core.event import VerifiedEvent

Role = Literal["button", "link"]
HERE = Path(__file__).parent
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}
TIMEOUT = 30_000.0  # milliseconds for what takes a moment, on a machine with much else to do
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The virtual authenticator of DevTools, as a phone or a computer has one.
BUILT_IN = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
CONSOLE = ("--console", "127.0.0.1:0", "--qr")
PATIENT: dict[str, Any] = {"timeout": 60.0}


@dataclass(slots=True)
class Stage:
    """A running signer with a console."""

    signer: RunningSigner
    relay: str
    data: Path

    @property
    def origin(self) -> str:
        found = [line for line in self.signer.lines if line.startswith("console ")]
        return found[0].split()[1]

    @property
    def link(self) -> str:
        """The link that binds the first device."""
        return next(line for line in self.signer.lines if "/bind/" in line)

    async def new_uri(self, profile: Profile = Profile.ASK) -> str:
        """Return one more bunker:// URI, as `bunker signer pair` gets it."""
        grants = [grant.to_json() for grant in profile_grants(profile)]
        return str(await asyncio.to_thread(send, self.data, "invite", key="default", grants=grants))

    async def new_link(self) -> str:
        """Return one more link that binds a device, as `bunker signer console` makes it."""
        return await asyncio.to_thread(new_link, self.data, int(time.time()))

    async def command(self, *arguments: str) -> str:
        """Run `bunker signer ...` on the running signer; return its last line."""
        words = ("signer", arguments[0], "--data", str(self.data), *arguments[1:])
        return (await printed(*words)).strip().splitlines()[-1]


def bunker() -> str:
    """Return the command beside the Python that runs the tests."""
    return str(Path(sys.executable).with_name("bunker"))


@asynccontextmanager
async def stage(relay: str, data: Path, arguments: Sequence[str] = CONSOLE) -> AsyncIterator[Stage]:
    """Run a signer with a console on a free port."""
    async with running_signer(data, [relay], arguments=arguments) as signer:
        yield Stage(signer, relay, data)


# Browsers


def chromium(*, shell: bool = False) -> str:
    """Return the path of Chromium; skip without it.

    With `shell`, of its pages alone where that is installed: half the work for the processor. It
    has no notifications, no extensions and no client of push services.
    """
    need(find_spec("playwright"), "playwright, of requirements/interop.txt")
    names = ("chromium-headless-shell",) if shell else ()
    found = map(shutil.which, (*names, "chromium", "chromium-browser"))
    path = next((path for path in found if path), None)
    need(path, "Chromium, of .ci/apt/console.txt")
    return str(path)


@asynccontextmanager
async def browser(*flags: str, shell: bool = False) -> AsyncIterator["Browser"]:
    """Run a headless Chromium, or only what draws its pages (`shell`)."""
    path = chromium(shell=shell)
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=path, headless=True, args=[*FLAGS, *flags]
        )
        try:
            yield started
        finally:
            await started.close()


@asynccontextmanager
async def visitor(
    browser: "Browser", origin: str, beside: str = "", *, worker: bool = False, **options: Any
) -> AsyncIterator["Page"]:
    """Open a browser profile that nobody knows yet, the size of a phone; fail on script errors.

    So does a picture, script or page from anywhere but the console (and `beside`). Only with
    `worker` there is the service worker, for which a browser starts one more process.
    """
    options.setdefault("viewport", PHONE)
    options.setdefault("locale", "en-GB")
    options.setdefault("service_workers", "allow" if worker else "block")
    context: BrowserContext = await browser.new_context(**options)
    context.set_default_timeout(TIMEOUT)
    faults = watched(context, origin, beside or origin)
    try:
        page = await context.new_page()
        yield page
        assert faults == []
    finally:
        await context.close()


def watched(context: "BrowserContext", *allowed: str) -> list[str]:
    """Return the list that all will be in which the pages must not do.

    That is an error of a script, what their own CSP forbids, and whatever is fetched from an
    address that begins with none of `allowed`.
    """
    faults: list[str] = []

    def told(message: "ConsoleMessage") -> None:
        if "Content Security" in message.text:
            faults.append(message.text)

    def requested(request: "Request") -> None:
        if not request.url.startswith(allowed):
            faults.append(f"fetched {request.url}")

    context.on("weberror", lambda error: faults.append(str(error.error)))
    context.on("console", told)
    context.on("request", requested)
    return faults


async def follow(control: "Locator") -> None:
    """Tap on what leads to a page, and wait for that page with its style and its scripts.

    A click by itself returns before: who looks next then sees the page from which it led away.
    """
    await control.wait_for()
    async with control.page.expect_navigation():
        await control.click()


async def tap(
    where: "Page | Locator", name: str, *, role: "Role" = "button", exact: bool = False
) -> None:
    """Follow the button (or the link) of that name."""
    await follow(where.get_by_role(role, name=name, exact=exact))


async def bind(page: "Page", link: str, name: str = "Phone") -> None:
    """Bind the browser by a link without the page of its form, and be where that leads.

    It takes a third of the processor time; `scan` fills the form in.
    """
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(link))
    answer = await page.context.request.post(
        link, form={"name": name}, headers={"origin": origin}, max_redirects=0
    )
    assert answer.status == 303, await answer.text()
    await page.goto(f"{origin}{answer.headers['location']}")


async def scan(page: "Page", link: str, name: str = "Phone") -> None:
    """Scan the link: open it, name the device, bind it."""
    await page.goto(link)
    await page.get_by_label("Name of this device").fill(name)
    await tap(page, "Bind")


async def sure(page: "Page", what: str, yes: str) -> None:
    """Tap on something that asks back, and then on the answer."""
    asks = page.locator(f'summary[aria-label="{what}"], summary:text-is("{what}")').first
    await asks.click()
    await tap(asks.locator("xpath=.."), yes)


def node_script(name: str) -> tuple[str, str]:
    """Return the command of a script beside this file; skip without Node.js and its packages."""
    program = shutil.which("node")
    need(program, "Node.js 20 or later")
    need((HERE / "node_modules" / "nostr-tools").is_dir(), "what `make peers` installs")
    return str(program), str(HERE / name)


def axe() -> str:
    """Return the source of axe-core; skip without it."""
    path = HERE / "node_modules" / "axe-core" / "axe.min.js"
    need(path.is_file(), "what `make peers` installs")
    return path.read_text(encoding="utf-8")


# Plain HTTP


@asynccontextmanager
async def http(stage: Stage, token: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client that follows no redirect; `token` is a device's cookie."""
    cookies = {"device": token} if token else {}
    async with httpx.AsyncClient(base_url=stage.origin, cookies=cookies, trust_env=False) as client:
        client.headers["origin"] = stage.origin
        yield client


async def bound(stage: Stage, client: httpx.AsyncClient, name: str = "Robot") -> str:
    """Bind an HTTP client by a fresh link; return the CSRF token for its forms."""
    path = (await stage.new_link()).removeprefix(stage.origin)
    answer = await client.post(path, data={"name": name})
    assert answer.status_code == 303, answer.text
    page = await client.get("/devices")
    return page.text.split('name="csrf" value="')[1].split('"')[0]


@asynccontextmanager
async def paired(on: Stage, name: str = "Notes") -> AsyncIterator[RemoteSigner]:
    """Yield an app that pairs by a URI of its own and may do nothing without asking."""
    about = ClientMetadata(name, "https://notes.example")
    async with RemoteSigner.from_uri(await on.new_uri(), metadata=about) as app:
        yield app


def key_of(app: RemoteSigner) -> str:
    """Return the pubkey by which the signer knows an app."""
    return app.session.client_key.pubkey


def sign(app: RemoteSigner, content: str = "Signed from afar", **event: Any) -> Any:
    """Start asking for a signature; returns the task."""
    template = {"kind": 1, "content": content, **event}
    coroutine = app.request_signature(template, **PATIENT)
    task: asyncio.Task[VerifiedEvent] = asyncio.create_task(coroutine)
    return task
