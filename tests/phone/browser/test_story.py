"""The phone as a signer, awake: first run, pairing both ways, and what requests are answered."""

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import websockets

from bunker_client import RemoteSigner, RequestDenied
from bunker_client.pair.pairing import Pairing
from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_nsec
from bunker_core.nips.nip46 import ClientMetadata
from phone._stage import Phone, Served, app_of, phone, sign
from signer.console.browser.test_screen_reader import spoken

if TYPE_CHECKING:
    from playwright.async_api import Browser


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_first_signature(handset: Phone, served: Served) -> None:
    """From the link to a signature: key, passkey, recovery copy, relay, app, answer."""
    assert len(served.joined) >= 1  # by the phone's first run
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        asking = sign(app)
        await handset.page.get_by_role("heading", name="Post a note").wait_for()
        await handset.allow()
        event = await asking
        assert event.pubkey == await app.get_public_key()
        assert event.content == "Signed by the phone"


async def test_a_question_is_announced_and_its_clock_is_not(handset: Phone) -> None:
    """A screen reader says the title once; seconds that run down are no live region."""
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        await handset.page.get_by_role("heading", name="Nothing is waiting").wait_for()
        asking = sign(app)
        await handset.asked()
        nodes = await spoken(handset.page, handset.devtools)
        texts = [node for node in nodes if node.role == "StaticText"]
        assert [node.name for node in texts if node.live] == ["Post a note"]
        clock = [node for node in texts if node.name.endswith(" s left")]
        assert [node.live for node in clock] == [False]
        order = [
            [(node.role, node.name) for node in nodes].index(wanted)
            for wanted in (
                ("StaticText", "Notes"),
                ("heading", "Post a note"),
                ("region", "Your answer"),
                ("button", "Deny"),
                ("button", "Allow once"),
            )
        ]
        assert order == sorted(order)
        await handset.allow()
        await asking


async def test_denied(handset: Phone) -> None:
    """A no is a no, and it is told at once."""
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        asking = sign(app)
        await handset.deny()
        with pytest.raises(RequestDenied):
            await asking


async def test_two_requests_are_two_questions_and_one_burst_is_one(handset: Phone) -> None:
    """Requests of one kind are one question about all that is shown; another kind is another."""
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        notes = [sign(app, f"note {number}") for number in range(3)]
        await handset.page.get_by_role("heading", name="Post a note (3 times)").wait_for()
        reaction = sign(app, "+", kind=7)
        await handset.page.get_by_text("1 more wait behind this one").wait_for()
        await handset.allow()
        assert {(await note).content for note in notes} == {"note 0", "note 1", "note 2"}
        await handset.page.get_by_role("heading", name="React to a post").wait_for()
        await handset.allow()
        assert (await reaction).kind == 7


async def test_a_tap_that_was_meant_for_another_question_allows_nothing(handset: Phone) -> None:
    """A second question comes up under the finger: for a moment it takes no answer."""
    page = handset.page
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        note = sign(app)
        await page.get_by_role("heading", name="Post a note").wait_for()
        reaction = sign(app, "+", kind=7)
        await page.get_by_text("1 more wait behind this one").wait_for()
        await page.evaluate(
            """void (window.tapped = new Promise((done) => new MutationObserver(() => {
              if (document.querySelector("#asked")?.innerText !== "React to a post") return;
              const button = document.querySelector(".answers .allow");
              button.click();
              done(button.disabled);
            }).observe(document.querySelector("main"), { childList: true, subtree: true })))"""
        )
        await handset.allow()
        assert (await note).kind == 1
        assert await page.evaluate("window.tapped") is True
        await handset.deny()
        with pytest.raises(RequestDenied):
            await reaction


async def test_always_is_a_grant_and_it_can_be_taken_away(handset: Phone) -> None:
    """A lasting answer is kept for this kind alone, counted while the key is open."""
    page = handset.page
    async with app_of(await handset.pair_uri(), "Grants") as app:
        await handset.show("Requests")
        asking = sign(app)
        await page.get_by_text("Allow or deny for longer").click()
        await handset.answer("Always allow")  # and the key is locked again
        await asking
        second = sign(app, "allowed, and the key is sealed")
        await page.get_by_role("button", name="Unlock").click()
        assert (await second).content.startswith("allowed")
        await handset.show("Apps")
        await page.locator(".list .row", has_text="Grants").click()
        await page.get_by_role("button", name="Take away").click()
        await page.get_by_text("Nothing. It asks each time.").wait_for()
        await handset.show("Requests")
        third = sign(app)
        await handset.deny()
        with pytest.raises(RequestDenied):
            await third


async def test_always_for_a_login_is_for_that_host_alone(handset: Phone, served: Served) -> None:
    """The rule names the host, another asks anew; two hosts make none, our own relay is refused."""
    page = handset.page

    def login(app: RemoteSigner, *urls: str) -> Any:
        return sign(app, "", kind=27235, tags=[["u", url] for url in urls])

    async with app_of(await handset.pair_uri(), "Logins") as app:
        await handset.show("Requests")
        asking = login(app, "https://files.example/a")
        await page.get_by_text("Allow or deny for longer").click()
        await page.get_by_text("You have never logged in there with this key").wait_for()
        await handset.tap("Always allow")
        await page.get_by_role("dialog").get_by_role("button", name="Allow").click()
        await page.get_by_text("Allowed", exact=True).wait_for()  # and the key is locked again
        await asking
        again = login(app, "https://files.example/b")
        await page.get_by_role("button", name="Unlock").click()
        await again
        other = login(app, "https://other.example/")
        await page.get_by_text("https://other.example/").first.wait_for()
        await page.get_by_text("Allow or deny for longer").wait_for()
        await handset.deny()
        with pytest.raises(RequestDenied):
            await other
        two = login(app, "https://files.example/", "https://other.example/")
        await page.get_by_text("https://files.example/").first.wait_for()
        await page.get_by_text("https://other.example/").first.wait_for()
        assert await page.get_by_text("Allow or deny for longer").count() == 0  # of this question
        await handset.deny()
        with pytest.raises(RequestDenied):
            await two
        own = login(app, served.relay.replace("ws", "http", 1))
        with pytest.raises(RequestDenied, match="signer's own relay"):
            await own
        await handset.show("Apps")
        await page.locator(".list .row", has_text="Logins").click()
        await page.get_by_text(": files.example").wait_for()


async def test_version_3_of_nip44_is_asked_with_its_kind_and_shown_as_text(handset: Phone) -> None:
    """Encrypted and decrypted by the client; the card has the text and the scope."""
    page = handset.page
    peer = SecretKey.generate().pubkey
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        asking = asyncio.create_task(
            app.nip44v3_encrypt(peer, "grüße".encode(), 30078, "app", timeout=60.0)
        )
        await page.get_by_text("grüße").wait_for()
        await page.get_by_text("nip44v3_encrypt · kind 30078/app").wait_for()
        await handset.allow()
        payload = await asking
        reading = asyncio.create_task(
            app.nip44v3_decrypt(peer, payload, 30078, "app", timeout=60.0)
        )
        await handset.allow()
        assert (await reading).decode() == "grüße"


async def test_what_a_list_would_lose_is_told_and_asked_twice(handset: Phone) -> None:
    """By what was signed here: who would be gone, by the names that the owner gave them."""
    page = handset.page
    follows = [["p", f"{number:064x}", "", f"friend {number}"] for number in range(1, 11)]
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        first = sign(app, "", kind=3, tags=follows)
        await page.get_by_text("What it replaces is not known here.").wait_for()
        await handset.allow()
        await first
        fewer = sign(app, "", kind=3, tags=follows[:4])
        await page.get_by_text("6 fewer than now.").wait_for()
        await page.get_by_text("Gone are: friend 5, friend 6, friend 7").wait_for()
        await handset.tap("Allow once")
        dialog = page.get_by_role("dialog")
        await dialog.get_by_text("More than a fifth of the list would be gone.").wait_for()
        await dialog.get_by_role("button", name="Back").click()
        await handset.deny()
        with pytest.raises(RequestDenied):
            await fewer


async def test_the_owners_relays_are_asked_only_if_they_are_named(
    chromium: "Browser", served: Served
) -> None:
    """A profile of another signer is found there, while the question is shown, and compared."""
    key = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    profile = '{"name":"Anna","about":"old","picture":"p"}'
    event = sign_event(EventTemplate(0, profile, (), int(time.time()) - 60), key)
    other = sign_event(
        EventTemplate(0, '{"name":"Eve"}', (), int(time.time())), SecretKey.generate()
    )
    async with websockets.connect(served.relay) as socket:
        for item in (event, other):
            await socket.send(json.dumps(["EVENT", item.to_dict()]))
            assert json.loads(await socket.recv())[2] is True
    async with phone(chromium, served) as made:
        page = made.page
        await page.goto(served.link)
        await page.get_by_role("button", name="Bring my key").click()
        await page.get_by_label("Your key", exact=True).fill(encode_nsec(secret))
        await page.get_by_role("button", name="Continue").click()
        await made.seal()
        await made.save_recovery()
        await page.get_by_text("This phone is the relay’s signer now.").wait_for()
        async with app_of(await made.pair_uri()) as app:
            await made.show("Requests")
            asking = sign(app, '{"name":"Anna"}', kind=0)
            await page.get_by_text("What it replaces is not known here.").wait_for()
            await made.show("Settings")
            field = page.get_by_label("Your relays, one a line")
            await field.fill("http://no.relay")
            save = page.get_by_role("button", name="Save", exact=True)
            await save.click()
            await page.locator("#said .bad").wait_for()
            await field.fill(served.relay)
            await save.click()
            await page.get_by_text("Saved").wait_for()
            await made.show("Requests")
            await page.get_by_text("about would be gone (before: old)").wait_for()
            await page.get_by_text("Anna, npub1").wait_for()  # the key, by its own profile's name
            await made.deny()
            with pytest.raises(RequestDenied):
                await asking


async def test_nostrconnect_is_told_the_secret(handset: Phone, served: Served) -> None:
    """Pairing the other way: the app's code, what it says of itself, and then its first request."""
    page = handset.page
    pairing = Pairing([served.relay], metadata=ClientMetadata("Other app"))
    async with pairing:
        await page.goto(f"{served.origin}/#pair")
        await page.get_by_label("Or its address, pasted").fill(str(pairing.uri))
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_text("Other app").wait_for()
        await page.get_by_role("button", name="Pair", exact=True).click()
        app = await pairing.wait(60)
        await page.get_by_text("The app is paired").wait_for()  # said on the page of the apps
        await handset.show("Requests")
        asking = sign(app)
        await handset.asked()
        await handset.allow()
        assert (await asking).content == "Signed by the phone"


async def test_two_keys_sign_each_as_itself(handset: Phone) -> None:
    """A second key has a passkey and a recovery copy of its own; each app has the key it got."""
    page = handset.page
    first_key = await page.evaluate("localStorage.getItem('bunker.key')")
    async with app_of(await handset.pair_uri(), "First") as first:
        await handset.show("Settings")
        await page.get_by_role("link", name="Add a key").click()
        await page.get_by_role("button", name="Make a new key").click()
        await handset.seal()
        await handset.save_recovery()
        await page.get_by_role("heading", name="Nothing is waiting").wait_for()
        await handset.go("pair")
        select = page.locator("label", has_text=re.compile("^Key")).get_by_role("combobox")
        await select.wait_for()
        offered = select.locator("option")
        keys = {await option.get_attribute("value") for option in await offered.all()}
        assert len(keys) == 2
        [second_key] = keys - {first_key}
        assert second_key is not None
        async with app_of(await handset.pair_uri(key=second_key), "Second") as second:
            await handset.show("Requests")
            for app, key in ((first, first_key), (second, second_key), (first, first_key)):
                assert await app.get_public_key() == key
                asking = sign(app, f"Signed as {key}")
                await handset.asked()
                await handset.allow()
                assert (await asking).pubkey == key
