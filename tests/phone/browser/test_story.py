"""The phone as a signer, awake: first run, pairing both ways, requests, and what can go wrong."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import websockets

from bunker.harness import running_relay
from bunker_client import PairingFailed, RemoteSigner, RequestDenied
from bunker_client.pair.pairing import Pairing
from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.bunker_uri import parse_bunker_uri
from bunker_core.nips.channel import rpc_template
from bunker_core.nips.nip19 import encode_nsec
from bunker_core.nips.nip46 import ClientMetadata
from phone._stage import PASSPHRASE, Phone, Served, app_of, phone, serving, sign
from signer.console.browser.test_screen_reader import spoken

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Has the key's passkey be good for the given name; the name that it was good for.
SEAL_AT = """async (name) => {
  const done = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await done(indexedDB.open("bunker"));
  const store = database.transaction("keys", "readwrite").objectStore("keys");
  const [row] = await done(store.getAll());
  const blob = JSON.parse(row.blob);
  const params = blob.slots[0].params;
  const before = params.rp;
  params.rp = name;
  await done(store.put({ ...row, blob: JSON.stringify(blob) }));
  database.close();
  return before;
}"""


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


async def test_an_answer_that_nobody_heard_is_sent_again(handset: Phone, served: Served) -> None:
    """An app that listens only after its request, as go-nostr does, is answered all the same."""
    page = handset.page
    await page.evaluate(
        """void (window.again = new Promise((heard) => {
          const later = window.setTimeout;
          window.setTimeout = (work, milliseconds, ...rest) =>
            milliseconds === 200 ? heard(work) : later(work, milliseconds, ...rest);
        }))"""
    )
    uri = parse_bunker_uri(await handset.pair_uri())
    signer, app = uri.remote_signer_pubkey, SecretKey.generate()
    shared = nip44.conversation_key(app.shared_x(signer))
    asked = {"id": "1", "method": "connect", "params": [signer, uri.secret]}
    template = rpc_template(nip44.encrypt(json.dumps(asked), shared), signer, int(time.time()))
    wanted = {"kinds": [24133], "#p": [app.pubkey]}
    async with websockets.connect(served.relay) as socket:

        async def told(kind: str) -> Any:
            while (message := json.loads(await socket.recv()))[0] != kind:
                pass
            return message

        await socket.send(json.dumps(["EVENT", sign_event(template, app).to_dict()]))
        await asyncio.wait_for(page.evaluate("window.again.then(() => true)"), 60)
        await socket.send(json.dumps(["REQ", "answers", wanted]))
        await told("EOSE")
        await page.evaluate("window.again.then((send) => send())")
        answer = json.loads(nip44.decrypt((await told("EVENT"))[2]["content"], shared))
    assert (answer["id"], answer["result"]) == ("1", "ack")


async def test_a_logout_holds_and_a_secret_is_used_up_though_nobody_waits_for_the_answer(
    handset: Phone, served: Served
) -> None:
    """What an app asks for with its last breath is done; a known app's secret admits no second."""
    page = handset.page
    app = SecretKey.generate()
    uris = []
    for _ in range(3):
        uris.append(parse_bunker_uri(await handset.pair_uri()))
        await handset.show("Apps")
    first, second, third = uris
    signer = first.remote_signer_pubkey
    shared = nip44.conversation_key(app.shared_x(signer))

    async def ask(method: str, *params: str) -> None:
        asked = {"id": "1", "method": method, "params": [*params]}
        template = rpc_template(nip44.encrypt(json.dumps(asked), shared), signer, int(time.time()))
        async with websockets.connect(served.relay) as socket:
            await socket.send(json.dumps(["EVENT", sign_event(template, app).to_dict()]))
            while json.loads(await socket.recv())[0] != "OK":  # AUTH comes first
                pass

    for uri, name in ((first, "Brief"), (second, "Brief again")):
        about = json.dumps({"name": name})
        await ask("connect", signer, uri.secret or "", "", about)
        await page.get_by_text(name, exact=True).wait_for()
    with pytest.raises(PairingFailed, match="is wrong, used or too old"):
        async with RemoteSigner.from_uri(second, client_key=SecretKey.generate()):
            pass
    await ask("logout")
    await page.get_by_text("Brief again", exact=True).wait_for(state="detached")
    async with app_of(str(third)) as other:
        assert await other.get_public_key()


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


async def test_a_reload_in_the_middle_loses_nothing_and_answers_once(handset: Phone) -> None:
    """The question is in the journal: it is there again, and its answer goes out once."""
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        asking = sign(app)
        await handset.asked()
        await handset.page.reload()
        await handset.asked()
        await handset.allow()
        event = await asking
        again = sign(app, created_at=event.created_at)
        await handset.asked()  # another request, with an id of its own
        await handset.allow()
        assert (await again).id == event.id


async def test_a_second_tab_waits_and_can_take_over(handset: Phone, served: Served) -> None:
    """One tab answers; the other says so, and takes the place when it is told to."""
    other = await handset.context.new_page()
    await other.goto(served.origin)
    await other.get_by_text("Open in another tab").wait_for()
    await other.get_by_role("button", name="Use it here").click()
    await other.get_by_role("heading", name="Nothing is waiting").wait_for()
    await handset.page.get_by_text("Open in another tab").wait_for()
    await other.close()


async def test_a_lost_storage_is_noticed_and_the_copy_brings_the_key_back(
    chromium: "Browser", served: Served
) -> None:
    """IndexedDB gone, the recovery copy and its paper at hand: the same key signs again."""
    async with phone(chromium, served) as made:
        page = made.page
        await page.goto(served.origin)
        await page.get_by_role("button", name="Make a new key").click()
        await made.seal()
        copy, passphrase = await made.save_recovery()
        await page.get_by_role("heading", name="Your relay").wait_for()
        before = await page.evaluate("localStorage.getItem('bunker.key')")
        await page.goto("about:blank")
        await made.devtools.send(
            "Storage.clearDataForOrigin",
            {"origin": served.origin, "storageTypes": "indexeddb"},
        )
        await page.goto(served.origin)
        await page.get_by_text("this browser has lost its storage").wait_for()
        await page.get_by_role("button", name="Bring my key").click()
        await page.get_by_label("Your key", exact=True).fill(copy)
        await page.get_by_label("Passphrase of the ncryptsec").fill(passphrase)
        await page.get_by_role("button", name="Continue").click()
        await made.seal(passkey=False)
        await made.save_recovery()
        await page.get_by_role("heading", name="Your relay").wait_for()
        assert await page.evaluate("localStorage.getItem('bunker.key')") == before


async def test_without_prf_a_passphrase_seals(chromium: "Browser", served: Served) -> None:
    """An authenticator that derives nothing says so; the passphrase opens the key each time."""
    async with phone(chromium, served, prf=False) as made:
        page = made.page
        await page.goto(served.link)
        await page.get_by_role("button", name="Make a new key").click()
        await made.seal()
        await page.get_by_text("this device's passkeys can't seal a key").wait_for()
        await made.seal(passkey=False)
        await made.save_recovery()
        await page.get_by_text("This phone is the relay’s signer now.").wait_for()
        async with app_of(await made.pair_uri()) as app:
            await made.show("Requests")
            asking = sign(app)
            await made.tap("Allow once")
            await page.get_by_label("Passphrase", exact=True).fill("wrong passphrase")
            await page.get_by_role("button", name="Unlock").click()
            await page.get_by_text("wrong passphrase").wait_for()
            await made.tap("Allow once")
            await page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
            await page.get_by_role("button", name="Unlock").click()
            assert (await asking).content == "Signed by the phone"


async def test_hostile_requests(handset: Phone, served: Served) -> None:
    """Whatever a stranger or an app sends costs one error at most, and signs nothing."""
    page = handset.page
    async with app_of(await handset.pair_uri("basic")) as app:
        await handset.show("Requests")
        signer = app.session.remote_signer_pubkey
        key = SecretKey.generate()
        shared = nip44.conversation_key(key.shared_x(signer))

        async def send(text: str, created_at: int | None = None) -> None:
            now = int(time.time()) if created_at is None else created_at
            content = nip44.encrypt(text, shared) if text else "junk"
            event = sign_event(rpc_template(content, signer, now), key)
            async with websockets.connect(served.relay) as socket:
                await socket.send(json.dumps(["EVENT", event.to_dict()]))
                await socket.recv()

        for text in ("", "[]", "{", '{"id":1}', '{"id":"a","method":"sign_event","params":[{}]}'):
            await send(text)
        await send('{"id":"old","method":"ping"}', int(time.time()) - 400)
        asking = sign(app, "a\u202eb\u0007<img src=x>")
        await page.get_by_role("button", name="Unlock").click()
        assert (await asking).content == "a\u202eb\u0007<img src=x>"
        asking = sign(app, "\u202eevil", kind=30023)
        await page.get_by_text("U+202E").wait_for()
        await page.get_by_text("invisible or direction-changing").wait_for()
        await handset.deny()
        with pytest.raises(RequestDenied):
            await asking


async def test_panic_ends_it_all(handset: Phone) -> None:
    """Locked, every app gone, paused until told; a former app is a stranger."""
    page = handset.page
    async with app_of(await handset.pair_uri("full")) as app:
        await handset.show("Settings")
        await page.get_by_role("button", name="Panic").click()
        await page.get_by_role("dialog").get_by_role("button", name="Panic").click()
        await page.get_by_role("button", name="Go on").wait_for()
        await handset.show("Requests")
        await page.get_by_role("heading", name="Paused").wait_for()
        with pytest.raises(RequestDenied, match="not connected"):
            await app.request_signature({"kind": 1}, timeout=20.0)
        await handset.show("Activity")
        await page.get_by_text("Panic: everything locked and revoked").wait_for()
        await page.get_by_text("The log is whole").wait_for()
        await handset.show("Settings")
        await page.get_by_role("button", name="Go on").click()
        await handset.show("Requests")
        await page.get_by_role("heading", name="Nothing is waiting").wait_for()


async def test_a_relay_restart_is_survived(chromium: "Browser", tmp_path: Path) -> None:
    """The page says that the relay is gone; answers of meanwhile go out when it is back."""
    data = tmp_path / "relay"
    async with (
        running_relay(data) as relay,
        serving(tmp_path, relay.url) as served,
        phone(chromium, served) as made,
    ):
        page = made.page
        await made.first_run(served.link)
        async with app_of(await made.pair_uri()) as app:
            await made.show("Requests")
            asking = sign(app)
            await made.asked()
            await relay.terminate()
            await page.get_by_text("Your answer goes out when it is back.").wait_for()
            await made.tap("Allow once")
            await page.get_by_role("heading", name="Your relay is not connected").wait_for()
            assert await page.get_by_text("Nothing is waiting").count() == 0
            await page.get_by_text(relay.url).wait_for()
            await made.show("Settings")
            state = page.locator(".outcome")
            await state.filter(has_text=re.compile("^Not connected")).wait_for()
            async with running_relay(data, port=urlsplit(relay.url).port or 0):
                assert (await asking).content == "Signed by the phone"
                await state.filter(has_text=re.compile("^Connected")).wait_for()
                await made.show("Requests")
                await page.get_by_role("heading", name="Nothing is waiting").wait_for()
                asking = sign(app)
                await made.allow()
                assert (await asking).content == "Signed by the phone"


async def test_locked_until_it_is_too_late(handset: Phone) -> None:
    """Allowed by a grant, and nobody opens the key: the app is told that the signer is locked."""
    page = handset.page
    async with app_of(await handset.pair_uri("basic")) as app:
        await handset.show("Requests")
        asking = sign(app)
        await page.get_by_role("button", name="Unlock").wait_for()
        await page.evaluate("const real = Date.now; Date.now = () => real() + 121_000")
        with pytest.raises(RequestDenied, match="locked: the key was not unlocked in time"):
            await asking
        await page.get_by_role("heading", name="Nothing is waiting").wait_for()


async def test_a_key_that_was_sealed_at_another_name_says_so(handset: Phone) -> None:
    """A passkey is good for one name: the page says which, and does not ask for it elsewhere."""
    page = handset.page
    async with app_of(await handset.pair_uri()) as app:
        name = await page.evaluate(SEAL_AT, "phone.example.org")
        try:
            await page.reload()
            await handset.show("Requests")
            asking = sign(app)
            await handset.tap("Allow once")
            await page.get_by_text("this key was sealed at phone.example.org").wait_for()
            await handset.deny()
            with pytest.raises(RequestDenied):
                await asking
        finally:
            await page.evaluate(SEAL_AT, name)


async def test_a_link_of_another_page_is_refused(handset: Phone, served: Served) -> None:
    """It would make this phone the signer of somebody else's relay; nothing is sent there."""
    page = handset.page
    await handset.go("relay")
    await page.get_by_label("The link, pasted").fill("https://phone.evil.example/#join=x")
    await page.get_by_role("button", name="Join", exact=True).click()
    await page.get_by_text("This link is for https://phone.evil.example").wait_for()


async def test_expired(handset: Phone) -> None:
    """Two minutes of silence are a no, and the app is told."""
    page = handset.page
    async with app_of(await handset.pair_uri()) as app:
        await handset.show("Requests")
        asking = sign(app)
        await handset.asked()
        await page.evaluate("const real = Date.now; Date.now = () => real() + 121_000")
        with pytest.raises(RequestDenied, match="expired"):
            await asking


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
