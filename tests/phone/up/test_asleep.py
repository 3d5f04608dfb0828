"""The whole thing as `bunker up --phone` runs it: asleep, woken by a push, asked, answered.

The push service is one on this machine, and DevTools plays its last metre, from the service to the
browser. All the rest is real: the relay holds the request, encrypts and signs the push, and the
worker fetches, decrypts and shows what is asked.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from bunker.installation import Installation
from bunker.up.first_run import make_keys
from bunker_client import Step, WaitingForApproval
from bunker_client.doctor import Health, examine_signer
from bunker_phone.phones import Phones
from phone._stage import Phone, Served, app_of, built, phone, sign
from relay.push._service import Browser, Service, push_service
from support.commands import printed

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium

pytestmark = pytest.mark.asyncio(loop_scope="module")
WHOLE_BROWSER = True  # the headless shell has no notifications

T = TypeVar("T")
PATIENCE = 90.0  # seconds: a machine may be busy with other tests
POLL = 0.1  # seconds between two looks at what tells nobody: the kernel's table takes 7 ms of work
DEADLINE = 120.0  # seconds that a request waits for its answer (signer/signer.js)
# Where a browser would ask its vendor for an address to be woken at.
SUBSCRIBE = """
const made = %s;
const subscription = { ...made, toJSON: () => made, unsubscribe: async () => true };
PushManager.prototype.subscribe = async () => subscription;
PushManager.prototype.getSubscription = async () => null;
"""
ASKS = """async () => {
  const all = await registration.getNotifications();
  const [asks] = all.filter((item) => item.title.includes("asks"));
  return asks ? { title: asks.title, body: asks.body } : null;
}"""


@dataclass(slots=True)
class Running:
    """A running `bunker up --phone`."""

    served: Served
    lines: list[str]
    link: str


@asynccontextmanager
async def bunker_up(data: Path, *options: str) -> AsyncIterator[Running]:
    """Run it on free ports; push services may be on this machine."""
    site = built()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bunker", "up", "--phone", "--data", str(data), "--port", "0"),
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BUNKER_RELAY_PUSH__PRIVATE_ENDPOINTS": "true"},
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while not lines or "#join=" not in lines[-1]:
                line = await process.stdout.readline()
                assert line, lines
                lines.append(line.decode().rstrip())
        origin, _, _ = lines[-1].partition("/#join=")
        relay = next(line.split()[1] for line in lines if line.startswith("  relay"))
        served = Served(origin, relay, Phones(data / "phone"), site, [])
        yield Running(served, lines, lines[-1])
    finally:
        process.terminate()
        await process.communicate()


@dataclass(slots=True)
class Sleeper:
    """A phone that can be woken, and what wakes it."""

    handset: Phone
    browser: Browser
    service: Service
    origin: str
    relay_url: str
    registration: str

    async def sleep(self) -> None:
        """Leave the page, and wait until the relay has seen its connections end."""
        page = self.handset.page
        await page.goto("about:blank")
        async with asyncio.timeout(PATIENCE):
            while _visitors(int(self.relay_url.rpartition(":")[2])):  # noqa: ASYNC110 -- by the kernel
                await asyncio.sleep(POLL)

    async def deliver(self) -> bytes:
        """Wait for a push and hand it to the browser, as its vendor's service would."""
        _, sealed = await asyncio.wait_for(self.service.pushes.get(), PATIENCE)
        message = self.browser.open(sealed)
        await self.hand_over(message)
        return message

    async def hand_over(self, message: bytes) -> None:
        """Give a push to the browser."""
        told = {"origin": self.origin, "registrationId": self.registration}
        await self.handset.devtools.send(
            "ServiceWorker.deliverPushMessage", {**told, "data": message.decode()}
        )

    async def wake(self, comes_of_it: Awaitable[T]) -> T:
        """Begin what wakes the phone, deliver the push, return what comes of it."""
        waiting = asyncio.ensure_future(comes_of_it)
        message = await self.deliver()
        assert message == b"wake"
        return await self.insist(message, waiting)

    async def insist(self, message: bytes, comes_of_it: Awaitable[T]) -> T:
        """Hand a push over again until what comes of it is there.

        Chromium drops a push whose worker does not start in time.
        """
        waiting = asyncio.ensure_future(comes_of_it)
        async with asyncio.timeout(PATIENCE):
            while not (await asyncio.wait([waiting], timeout=5))[0]:
                await self.hand_over(message)
        return await waiting

    async def notification(self, page: Any, message: bytes) -> dict[str, str]:
        """Return the notification that the worker shows, seen from a page of the same origin."""
        script = """async () => {
          const registration = await navigator.serviceWorker.ready;
          for (;;) {
            const [shown] = await registration.getNotifications();
            if (shown) return { title: shown.title, body: shown.body };
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
        }"""
        found: dict[str, str] = await self.insist(message, page.evaluate(script))
        return found


def _visitors(port: int) -> set[str]:
    """Return the connections to a port of this machine, but for this process's own."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    links = {str(item.readlink()) for item in Path("/proc/self/fd").iterdir() if item.is_symlink()}
    own = {row[1] for row in rows if f"socket:[{row[9]}]" in links}
    ours = f":{port:04X}"
    open_here = [row for row in rows if row[1].endswith(ours) and row[3] in {"01", "08"}]
    return {row[2] for row in open_here} - own


@asynccontextmanager
async def sleeper(chromium: "Chromium", up: Running) -> AsyncIterator[Sleeper]:
    """Open a phone, make its key, let the relay wake it."""
    async with push_service() as service, phone(chromium, up.served) as handset:
        browser = Browser(f"{service.url}/wake")
        script = SUBSCRIBE % json.dumps(browser.subscription())
        await handset.context.add_init_script(script)
        await handset.context.grant_permissions(["notifications"], origin=up.served.origin)
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def registered(event: Any) -> None:
            for item in event["registrations"]:
                if not found.done() and item["scopeURL"].startswith(up.served.origin):
                    found.set_result(item["registrationId"])

        handset.devtools.on("ServiceWorker.workerRegistrationUpdated", registered)
        await handset.devtools.send("ServiceWorker.enable")
        await handset.first_run(up.link)
        await handset.show("Settings")
        await handset.page.get_by_role("button", name="Let my relay wake this phone").click()
        await handset.page.get_by_text("Your relay can wake this phone.").wait_for()
        await handset.pinned()  # a push to a worker that is not active yet is dropped
        yield Sleeper(handset, browser, service, up.served.origin, up.served.relay, await found)


async def test_asleep_asked_woken_answered(chromium: "Chromium", tmp_path: Path) -> None:
    """The mission's picture, with its times: request to notification, tap to signature."""
    async with bunker_up(tmp_path) as up, sleeper(chromium, up) as asleep:
        handset = asleep.handset
        page = handset.page
        await page.get_by_role("button", name="Send a test").click()
        assert await asleep.deliver() == b"test"
        assert (await asleep.notification(page, b"test"))[
            "body"
        ] == "Your relay can wake this phone."
        async with app_of(await handset.pair_uri()) as app:
            steps = app.progress()
            await asleep.sleep()
            asked_at = time.monotonic()
            asking = sign(app, "Signed from sleep")
            async with asyncio.timeout(PATIENCE):
                async for step in steps:
                    if step.step is Step.SIGNER_WOKEN:
                        assert "waiting for you on your phone" in str(step)
                        break
            shown = await asleep.wake(_question(handset))
            noticed = time.monotonic() - asked_at
            assert shown == {"title": "Notes asks", "body": "Post a note. Tap to answer."}
            # What a tap on the notification does: it opens the page.
            tapped_at = time.monotonic()
            await page.goto(f"{up.served.origin}/#requests")
            await handset.asked()
            seen = time.monotonic() - tapped_at
            answered_at = time.monotonic()
            await handset.allow()
            event = await asking
            print(
                f"request to notification {1000 * noticed:.0f} ms, tap to question "
                f"{1000 * seen:.0f} ms, answer to signature at the app "
                f"{1000 * (time.monotonic() - answered_at):.0f} ms"
            )
            assert event.content == "Signed from sleep"
            assert noticed < DEADLINE  # there is time left to answer; the figure is the line above


async def _question(handset: Phone) -> dict[str, str]:
    """Return the notification of a question, as the worker of the moment has it."""
    from playwright.async_api import Error

    while True:
        for worker in handset.context.service_workers:
            with contextlib.suppress(Error):
                found: dict[str, str] | None = await worker.evaluate(ASKS)
                if found:
                    return found
        await asyncio.sleep(POLL)


async def _status(data: Path, *options: str) -> str:
    """Run `bunker status` on the installation."""
    return await printed("status", "--data", str(data), *options)


async def test_asleep_and_nobody_answers(chromium: "Chromium", tmp_path: Path) -> None:
    """A woken phone that nobody takes up signs nothing; a ping it answers in its sleep."""
    async with bunker_up(tmp_path) as up, sleeper(chromium, up) as asleep:
        uri = await asleep.handset.pair_uri("full")
        async with app_of(uri) as app:
            await asleep.sleep()
            await asleep.wake(app.ping(timeout=PATIENCE))
            shown = await _status(tmp_path)
            assert re.search(r"can be woken, last seen \S+ \S+ UTC, last push \S+ \S+ UTC\n", shown)
            assert "failed" not in shown
            # Allowed by a grant, and still: the key is sealed, and only a finger opens it.
            with pytest.raises(WaitingForApproval):
                await asleep.wake(app.request_signature({"kind": 1}, timeout=20.0))


async def test_a_phone_that_joins_becomes_a_signer_of_the_relay_without_a_restart(
    chromium: "Chromium", tmp_path: Path
) -> None:
    """Its transport key is written down for the next start and taken by the relay that runs."""
    async with bunker_up(tmp_path) as up:
        assert any("never lies on this machine" in line for line in up.lines)
        before = (tmp_path / "phone" / "relay.toml").read_text()
        async with phone(chromium, up.served) as handset:
            await handset.first_run(up.link)
            after = (tmp_path / "phone" / "relay.toml").read_text()
            [joined] = Phones(tmp_path / "phone").all()
            assert joined.pubkey in after
            assert joined.pubkey not in before
            async with app_of(await handset.pair_uri("basic")) as app:
                await handset.show("Requests")
                asking = sign(app)
                await handset.tap("Unlock")
                assert (await asking).content == "Signed by the phone"


async def test_status_wakes_the_phone_and_says_that_it_answers(
    chromium: "Chromium", tmp_path: Path
) -> None:
    """`bunker status --check` is a test of the push, too: asleep, the phone answers it."""
    async with bunker_up(tmp_path) as up, sleeper(chromium, up) as asleep:
        woken = r"ok +phone .+: asleep, and woken by a push: answers in \d+ ms\n"
        for _ in range(3):  # it waits for seconds: too few where much else is going on
            await asleep.sleep()
            told = await asleep.wake(_status(tmp_path, "--check"))
            if re.fullmatch(woken, told):
                break
        assert re.fullmatch(woken, told)
        await asleep.handset.page.goto(f"{up.served.origin}/#requests")
        await asleep.handset.page.get_by_role("heading", name="Nothing is waiting").wait_for()
        awake = await _status(tmp_path, "--check")
        assert re.fullmatch(r"ok +phone .+: awake, answers in \d+ ms\n", awake)
        await asleep.sleep()
        [joined] = Phones(tmp_path / "phone").all()
        [nobody] = [
            item async for item in examine_signer([up.served.relay], joined.pubkey, timeout=0.5)
        ]
        assert nobody.health is Health.WARNING
        assert nobody.text == "it sleeps on a phone, which was woken and did not answer in 0.5 s"
        assert "its Settings send a test" in nobody.remedy


async def test_a_phone_beside_a_signer_on_the_server(chromium: "Chromium", tmp_path: Path) -> None:
    """Two signers on one relay, each with its own key and its own apps; `status` knows both."""
    installation = Installation(tmp_path)
    await asyncio.to_thread(make_keys, installation, None, None)
    async with bunker_up(tmp_path, "--pair", "--profile", "basic", "--no-qr") as up:
        assert any("beside the signer on this machine" in line for line in up.lines)
        server_uri = next(line.strip() for line in up.lines if line.startswith("bunker://"))
        async with phone(chromium, up.served) as handset:
            await handset.first_run(up.link)
            phone_uri = await handset.pair_uri()
            async with app_of(server_uri) as everyday, app_of(phone_uri) as careful:
                await handset.show("Requests")
                at_once = await sign(everyday, "Signed on the server")
                asking = sign(careful)
                await handset.allow()
                by_hand = await asking
            assert at_once.pubkey == installation.user_pubkey()
            assert by_hand.pubkey == await handset.page.evaluate("localStorage['bunker.key']")
            assert at_once.pubkey != by_hand.pubkey
        shown = await _status(tmp_path)
        [joined] = Phones(tmp_path / "phone").all()
        assert "signer  running" in shown
        assert f"{joined.pubkey[:8]}…: can't be woken: see its Settings" in shown
        config = (tmp_path / "phone" / "relay.toml").read_text()
        assert joined.pubkey in config
        assert installation.remote_signer_pubkey() in config
