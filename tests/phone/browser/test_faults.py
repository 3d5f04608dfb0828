"""The phone as a signer, when something goes wrong: an answer, storage or relay lost; panic."""

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
from bunker_core.event import sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.bunker_uri import parse_bunker_uri
from bunker_core.nips.channel import rpc_template
from phone._stage import PASSPHRASE, Phone, Served, app_of, phone, serving, sign

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
