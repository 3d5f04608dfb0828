"""The extension with a key that is sealed in it: made, saved, locked, opened, in both browsers."""

import asyncio
from typing import Any

import pytest

from bunker_core.event import parse_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip49
from bunker_core.nips.nip19 import encode_npub
from client.nip07._browsers import until
from client.nip07._stage import NOTE, PEER, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSPHRASE = "correct horse battery"
COPY = "staple, on paper"


async def seal(stage: Stage, key: str = "", key_passphrase: str = "") -> None:
    """Fill in the form of the settings."""
    tab = await stage.options()
    await stage.fill(tab, "#key", key)
    await stage.fill(tab, "#key-passphrase", key_passphrase)
    await stage.fill(tab, "#passphrase", PASSPHRASE)
    await stage.fill(tab, "#again", PASSPHRASE)
    await stage.click(tab, "Seal it")
    assert await stage.said(tab) == "Sealed."


async def lock(stage: Stage) -> None:
    """Lock, as the popup's button does."""
    await stage.tell("lock")


async def unlocked(stage: Stage, page: Any, expression: str, button: str = "once") -> Any:
    """Call while the key is locked; type the passphrase beside the answer."""
    task = asyncio.create_task(stage.call(page, expression))
    window = await stage.asked_by(task)
    await stage.fill(window, "input[type=password]", PASSPHRASE)
    await stage.press(window, button)
    return await task


async def test_a_page_that_goes_round_window_nostr_is_stopped_in_its_tab(
    stage: Stage, page: Any
) -> None:
    """What it posts by itself is JSON of 1 MB at most; the background never sees more."""
    posted = """(params) => new Promise((resolve) => {
        const take = ({data}) => data.nostrBunker === "reply" && resolve(data.error);
        addEventListener("message", take);
        postMessage({nostrBunker: "call", id: "own", method: "getRelays", params});
    })"""
    for large in ("['x'.repeat(2e6)]", "Array(2e5).fill('1234567')", "['x'.repeat(1e6)]"):
        said = await stage.browser.evaluate(page, f"({posted})({large})")
        assert said == "invalid: the call is larger than 1000000 bytes", large
    said = await stage.browser.evaluate(page, f"({posted})([new ArrayBuffer(1e8)])")
    assert said == "error: nostr-bunker has no key yet: open its settings"


async def test_a_new_key_is_used_once_its_copy_is_saved(stage: Stage, page: Any) -> None:
    """Made in the browser, useless before its copy is there; the copy opens in Python."""
    said = await stage.call(page, "window.nostr.getPublicKey()")
    assert said == "refused: error: nostr-bunker has no key yet: open its settings"
    await seal(stage)
    assert "has no key yet" in await stage.call(page, "window.nostr.getPublicKey()")
    tab = await stage.options()
    await stage.fill(tab, ".own", PASSPHRASE)
    await stage.fill(tab, ".other", COPY)
    await stage.click(tab, "Make the copy")
    await stage.see(tab, "a[download]")
    copy = await stage.browser.evaluate(tab, "document.querySelector('.copy').value")
    await stage.click(tab, "I have saved the copy")
    assert await stage.said(tab) == "The key can be used now."
    secret = bytearray(32)
    nip49.decrypt(copy, COPY, secret)
    pubkey = SecretKey(bytes(secret)).pubkey
    assert await stage.answered(page, "window.nostr.getPublicKey()", "always") == pubkey
    event = verify(parse_event(await stage.answered(page, NOTE, "once")))
    assert (event.pubkey, event.content) == (pubkey, "hi")
    for name in ("nip44", "nip04"):
        to = f"window.nostr.{name}.encrypt('{PEER}', 'for you')"
        payload = await stage.answered(page, to, "once")
        back = f"window.nostr.{name}.decrypt('{PEER}', '{payload}')"
        assert await stage.answered(page, back, "once") == "for you"


async def test_a_locked_key_waits_for_its_passphrase(stage: Stage, page: Any) -> None:
    """Locked, who one is is still told; a wrong passphrase is said, and the right one signs."""
    await lock(stage)
    assert len(await stage.call(page, "window.nostr.getPublicKey()")) == 64
    task = asyncio.create_task(stage.call(page, NOTE))
    window = await stage.prompt()
    await stage.fill(window, "input[type=password]", "not this one, no")
    click = "void document.querySelector('button[value=once]').click()"
    await stage.browser.evaluate(window, click)
    assert "wrong passphrase" in await stage.see(window, ".bad:not([hidden])")
    await stage.prompt()  # the buttons are back
    await stage.fill(window, "input[type=password]", PASSPHRASE)
    await stage.press(window, "always")
    verify(parse_event(await task))
    verify(parse_event(await stage.call(page, NOTE)))  # open, and granted
    await lock(stage)
    # Granted and locked: the window asks for the passphrase alone.
    verify(parse_event(await unlocked(stage, page, NOTE)))


async def test_each_site_deals_with_the_identity_that_was_chosen(
    stage: Stage, page: Any, origin: str
) -> None:
    """A key brought as ncryptsec is a second identity; one site has it, the others the first."""
    key = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    await seal(stage, nip49.encrypt(secret, COPY, log_n=4), COPY)
    told = await stage.state()
    first, second = told["identities"]
    assert second["pubkey"] == key.pubkey
    await stage.tell("choose", origin=origin, identity=second["id"])
    assert await stage.call(page, "window.nostr.getPublicKey()") == key.pubkey
    assert verify(parse_event(await stage.call(page, NOTE))).pubkey == key.pubkey
    other = NOTE.replace("kind: 1", f"pubkey: '{first['pubkey']}', kind: 1")
    assert "another author" in await stage.call(page, other)
    assert encode_npub(key.pubkey) in await stage.see(await stage.options(), "main")


async def test_a_passkey_is_offered_where_there_can_be_one(stage: Stage) -> None:
    """In Firefox there is no button that can't work: the reason stands in its place."""
    tab = await stage.options()
    offers = """[...document.querySelectorAll('summary')]
        .some((item) => item.textContent === 'Unlock with a passkey')"""
    assert await stage.browser.evaluate(tab, offers) is (stage.name == "chromium")
    if stage.name == "chromium":
        assert not await stage.browser.evaluate(tab, "!!document.querySelector('.no-passkey')")
        return
    said = await stage.see(tab, ".no-passkey")
    assert said.startswith("Firefox lets no extension have a passkey of its own")
    # The tab that is looked at asks. Should this fail one day, Firefox gives them, and we should.
    front = "chrome.tabs.getCurrent().then(({id}) => chrome.tabs.update(id, {active: true}))"
    await stage.browser.evaluate(tab, f"{front}.then(() => true)")
    await until(lambda: stage.browser.evaluate(tab, "document.hasFocus()"))
    made = """navigator.credentials.create({publicKey: {
        rp: {name: "x"}, user: {id: new Uint8Array(8), name: "x", displayName: "x"},
        challenge: new Uint8Array(32), pubKeyCredParams: [{type: "public-key", alg: -7}],
    }}).then(() => "made", (error) => error.name)"""
    assert await stage.browser.evaluate(tab, made) == "SecurityError"
