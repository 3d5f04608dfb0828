"""A login with the key on the phone: an app with nostr-tools, the extension, our relay, the page.

Nothing between them stands in for anything: the desktop's browser and the phone's are two, and each
call is answered twice, in the extension's window (may this site ask) and on the phone.
"""

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from bunker.harness import running_relay
from bunker_core.event import parse_event, verify
from bunker_core.kinds import HTTP_AUTH
from bunker_core.nips.nip19 import encode_npub
from client.nip07._browsers import until
from client.nip07._stage import Stage, bundled, site
from phone._stage import Phone, Served, app_of, phone, serving
from signer.console._stage import browser

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOGIN = """<!doctype html><meta charset="utf-8"><title>A login</title>
<script type="module" src="/login.js"></script><button>Log in</button><output></output>"""


@dataclass(slots=True)
class Room:
    """A phone that has its key, and the server of its page."""

    served: Served
    phone: Phone
    pubkey: str


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A web site whose login is made with nostr-tools."""
    script = ("text/javascript", bundled(Path(__file__).with_name("login.js")))
    with site({"/login": ("text/html", LOGIN), "/login.js": script}) as at:
        yield at


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    """A relay, the phone's page, and a phone that has joined, in a browser of its own."""
    folder = tmp_path_factory.mktemp("phone")
    async with (
        running_relay(folder / "relay") as relay,
        serving(folder, relay.url) as served,
        browser(shell=True) as chromium,
        phone(chromium, served) as handset,
    ):
        await handset.first_run(served.link)
        async with app_of(await handset.pair_uri()) as app:
            pubkey = await app.get_public_key()  # as another app hears it
        await handset.show("Requests")
        yield Room(served, handset, pubkey)


async def test_a_site_logs_in_with_the_key_on_the_phone(
    stage: Stage, room: Room, origin: str
) -> None:
    """Paired by the phone's code; who one is, and the login's event, are allowed on both."""
    handset = room.phone
    if stage.name == "firefox":
        origin = origin.replace("127.0.0.1", "localhost")  # a host that the key does not know yet
    times: list[tuple[str, float]] = [("", time.perf_counter())]

    def done(step: str) -> None:
        times.append((step, time.perf_counter()))

    uri = await handset.pair_uri()
    tab = await stage.options()
    await stage.fill(tab, "#uri", uri)
    await stage.click(tab, "Pair")
    assert await stage.said(tab) == "Paired. Sites can log in with this extension now."
    done("paired")
    await handset.show("Requests")
    page = await stage.browser.open(f"{origin}/login")
    await until(lambda: stage.browser.evaluate(page, "document.body.dataset.ready === 'yes'"))
    done("page")
    await stage.browser.evaluate(page, "void document.querySelector('button').click()")
    await stage.press(await stage.prompt(), "once")  # getPublicKey
    done("getPublicKey")
    await stage.press(await stage.prompt(), "once")  # signEvent, which now goes to the phone
    await handset.page.get_by_text("You have never logged in there with this key").wait_for()
    done("signEvent asked on the phone")
    assert await stage.browser.evaluate(page, "document.querySelector('output').value") == ""
    await handset.tap("Allow once")  # confirmed once more, where the key has never logged in
    await handset.page.get_by_role("dialog").get_by_role("button", name="Allow").click()
    said = await stage.see(page, "output:not(:empty)")
    done("logged in")
    assert said == f"Logged in as {encode_npub(room.pubkey)}"
    token = await stage.browser.evaluate(page, "window.token")
    event = verify(parse_event(json.loads(base64.b64decode(token.removeprefix("Nostr ")))))
    assert (event.pubkey, event.kind) == (room.pubkey, HTTP_AUTH)
    await stage.browser.close(page)
    steps = [f"{step} {at - before:.2f} s" for (_, before), (step, at) in pairwise(times)]
    print(f"{stage.name}: {', '.join(steps)}")
