"""The passkey of a key that is sealed in the extension: made, asked, refused, removed.

The authenticator is DevTools' virtual one, which belongs to one tab: what a prompt's window shows
is looked at in that tab as well.
"""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bunker_core.event import EventTemplate, parse_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip49
from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.nse.wrap.passphrase import Passphrase
from client.nip07._browsers import Chromium
from client.nip07._stage import NOTE, Stage, built, site, staged
from client.nip07.browser.test_pages import judged
from client.nip07.browser.test_sealed import COPY, PASSPHRASE, lock, seal, unlocked
from phone._stage import AUTHENTICATOR
from phone.browser.test_memory import _browser_pid, _may_trace, forms, present, renderers
from support.require import need

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSKEY = "passkey-prf"
# What the passkey derives.
PRF = """async ({credential, rp, salt}) => {
    const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
    const found = await navigator.credentials.get({publicKey: {
        rpId: rp, challenge: new Uint8Array(32), userVerification: "required",
        allowCredentials: [{type: "public-key", id: bytes(credential)}],
        extensions: {prf: {eval: {first: bytes(salt)}}},
    }});
    return [...new Uint8Array(found.getClientExtensionResults().prf.results.first)];
}"""
SEND = "(message) => chrome.runtime.sendMessage(message)"
# Hand over what is encrypted as it should be, and is not what the passkey derives.
HAND = """async ([id, params, address]) => {
    const digits = (n) => n.toString(16).padStart(2, "0");
    const hex = (data) => [...new Uint8Array(data)].map(digits).join("");
    const curve = {name: "ECDH", namedCurve: "P-256"};
    const bytes = Uint8Array.from(address.match(/../g), (pair) => parseInt(pair, 16));
    const {publicKey, privateKey} = await crypto.subtle.generateKey(curve, false, ["deriveKey"]);
    const theirs = await crypto.subtle.importKey("raw", bytes, curve, false, []);
    const key = await crypto.subtle.deriveKey({...curve, public: theirs}, privateKey,
        {name: "AES-GCM", length: 256}, false, ["encrypt"]);
    const iv = new Uint8Array(12);
    const sealed = hex(await crypto.subtle.encrypt({name: "AES-GCM", iv}, key, new Uint8Array(32)));
    const from = hex(await crypto.subtle.exportKey("raw", publicKey));
    return chrome.runtime.sendMessage(
        {type: "unlock", id, opener: {passkey: {params, from, sealed}}});
}"""


class Holder:
    """A tab with the extension's settings, and an authenticator."""

    def __init__(self, stage: Stage, tab: "Page", devtools: "CDPSession", number: str) -> None:
        self.stage = stage
        self.tab = tab
        self.devtools = devtools
        self.number = number

    @classmethod
    async def of(cls, stage: Stage, **settings: Any) -> "Holder":
        browser = cast(Chromium, stage.browser)
        tab = await browser.open(f"{browser.own}options.html")
        devtools = await browser.context.new_cdp_session(tab)
        await devtools.send("WebAuthn.enable")
        options = {**AUTHENTICATOR, **settings}
        made = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        return cls(stage, tab, devtools, made["authenticatorId"])

    async def settings(self) -> None:
        await self.tab.goto(f"{self.stage.browser.own}options.html")
        await self.tab.wait_for_selector("h1")
        await self.tab.bring_to_front()  # a passkey is asked of the tab that is looked at

    async def open(self, summary: str) -> None:
        await self.tab.get_by_text(summary, exact=True).first.click()

    async def make(self, passphrase: str = PASSPHRASE) -> None:
        """Press what makes a passkey."""
        await self.settings()
        await self.open("Unlock with a passkey")
        await self.tab.locator(".for-passkey").fill(passphrase)
        await self.tab.get_by_role("button", name="Make a passkey").click()

    async def answered(self, page: Any, expression: str, button: str = "once") -> Any:
        """Call, answer the question in this tab, where the authenticator is."""
        task = asyncio.create_task(self.stage.call(page, expression))
        window = await self.stage.asked_by(task)
        await self.tab.goto(f"{self.stage.browser.own}prompt.html")
        await self.tab.bring_to_front()
        await self.tab.evaluate("void (window.close = () => {})")  # the authenticator would go
        await self.tab.locator(f"button[value={button}]:enabled").click()
        try:
            return await task
        finally:
            await self.stage.gone(window)
            await self.settings()

    async def unlock(self) -> None:
        """Press what opens the key in the settings."""
        await self.settings()
        await self.tab.get_by_role("button", name="Unlock with the passkey").click()

    async def said(self) -> str:
        """Return what came of it, good or bad."""
        return await self.tab.inner_text("#said .good, #said .bad")

    async def credentials(self) -> list[dict[str, Any]]:
        number = {"authenticatorId": self.number}
        found = await self.devtools.send("WebAuthn.getCredentials", number)
        return cast(list[dict[str, Any]], found["credentials"])


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A web site."""
    with site() as at:
        yield at


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A browser with the extension, and a key that a passphrase opens."""
    async with staged("chromium", tmp_path_factory.mktemp("passkey"), built()) as made:
        await made.settle()
        await sealed(made, SecretKey.generate())
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def holder(stage: Stage) -> Holder:
    """The tab of the authenticator."""
    return await Holder.of(stage)


@pytest_asyncio.fixture(loop_scope="module")
async def page(stage: Stage, origin: str) -> Any:
    """A tab with the site, loaded anew for each test, which knows who the user is."""
    tab = await stage.visit(origin)
    await stage.always(tab, "window.nostr.getPublicKey()")
    return tab


async def sealed(stage: Stage, key: SecretKey) -> None:
    """Bring a key."""
    secret = bytearray(32)
    key.copy_secret(secret)
    await seal(stage, nip49.encrypt(secret, COPY, log_n=4), COPY)


async def stored(tab: "Page") -> list[str]:
    """Check the stored key with the signer's own code; return its slots."""
    blob = await tab.evaluate(
        """() => new Promise((resolve) => {
          const request = indexedDB.open("nostr-bunker");
          request.onsuccess = () => {
            const store = request.result.transaction("state").objectStore("state");
            store.get("identities").onsuccess = ({ target }) => {
              request.result.close();
              resolve(target.result[0].blob);
            };
          };
        })"""
    )
    storage = MemoryStorage()
    storage.put("nse:blob", blob)
    with NSE(storage=storage, protector=Passphrase(PASSPHRASE)) as key:
        key.sign(EventTemplate(kind=1, content="", tags=(), created_at=1))
        return [slot.type for slot in key.slots()]


async def test_a_passkey_opens_the_key(stage: Stage, holder: Holder, page: Any) -> None:
    """Made after the right passphrase, asked by *Allow* and not by *Deny*, in the settings too."""
    await holder.make("not this one, no")
    assert "wrong passphrase" in await holder.said()
    assert await holder.credentials() == []  # nothing is left of it
    await holder.make()
    assert "The passkey opens the key now" in await holder.said()
    assert await stored(holder.tab) == ["passphrase", PASSKEY]
    [credential] = await holder.credentials()
    assert credential["rpId"].endswith(stage.browser.own.split("/")[2])
    await lock(stage)
    refused = await holder.answered(page, NOTE, "deny")
    assert refused.startswith("refused: denied")
    assert (await holder.credentials())[0]["signCount"] == credential["signCount"]
    verify(parse_event(await holder.answered(page, NOTE)))
    await lock(stage)
    await holder.unlock()
    assert await holder.said() == "The key is open."
    assert not (await stage.state())["identities"][0]["locked"]


async def test_the_background_that_ended_has_locked_the_key(
    stage: Stage, holder: Holder, page: Any
) -> None:
    """What the passkey opened is gone with it; the passkey opens it again, from what is stored."""
    await stage.browser.stop_background()
    await holder.settings()
    assert (await stage.state())["identities"][0]["locked"]
    verify(parse_event(await holder.answered(page, NOTE)))


async def test_its_pages_are_for_everyone(stage: Stage, holder: Holder, page: Any) -> None:
    """No finding of axe, none cut off at 200 %, the focus on the no, the passphrase by keyboard."""
    tab = holder.tab
    try:
        for language, remove, instead in (
            ("de", "Passkey entfernen", "Die Passphrase nehmen"),
            ("en", "Remove the passkey", "Use the passphrase"),
        ):
            await lock(stage)
            await stage.tell("settings", settings={"language": language})
            await holder.settings()
            await tab.locator(".for-passkey").evaluate(
                "(field) => field.closest('details').open = true"
            )
            await tab.get_by_role("button", name=remove).wait_for()
            await judged(stage, tab, "options.html")
            task = asyncio.create_task(stage.call(page, NOTE))
            prompt: Any = await stage.asked_by(task)
            await prompt.wait_for_function("document.activeElement?.value === 'deny'")
            await judged(stage, prompt, "prompt.html")
            await prompt.get_by_text(instead).focus()
            await prompt.keyboard.press("Enter")
            await prompt.keyboard.press("Tab")
            await prompt.keyboard.type(PASSPHRASE)
            with contextlib.suppress(Exception):  # the window may be gone before it has come back
                await prompt.keyboard.press("Enter")
            verify(parse_event(await task))
            await stage.gone(prompt)
    finally:
        await stage.tell("settings", settings={"language": ""})


async def test_another_authenticator_does_not_open_it(
    stage: Stage, holder: Holder, page: Any
) -> None:
    """One that has it not, and one that derives nothing, are told; the passphrase opens."""
    await lock(stage)
    [credential] = await holder.credentials()
    number = {"authenticatorId": holder.number}
    await holder.devtools.send("WebAuthn.clearCredentials", number)
    await holder.unlock()
    assert "not confirmed" in await holder.said()
    await holder.devtools.send("WebAuthn.addCredential", {**number, "credential": credential})
    await holder.unlock()  # DevTools brings the passkey back without what it derives from
    assert "the passkey did not open the key" in await holder.said()
    assert (await stage.state())["identities"][0]["locked"]
    verify(parse_event(await unlocked(stage, page, NOTE)))


async def test_what_a_page_hands_over_is_checked(stage: Stage, holder: Holder) -> None:
    """Whatever else comes than what the passkey derived costs one error, and opens nothing."""
    await lock(stage)
    told = (await stage.state())["identities"][0]
    point = await holder.tab.evaluate("chrome.runtime.sendMessage({type: 'exchange'})")
    good = {"params": told["passkey"], "from": point["result"], "sealed": "00" * 48}
    changes: tuple[dict[str, Any], ...] = (
        {},  # not encrypted for the background
        {"from": "04" + "00" * 64},  # no point of the curve
        {"from": "x"},
        {"from": None},
        {"sealed": "00" * 47},
        {"sealed": {}},
        {"params": {}},
        {"params": {**told["passkey"], "salt": "00"}},
    )
    for change in changes:
        message = {"type": "unlock", "id": told["id"], "opener": {"passkey": {**good, **change}}}
        answer = await holder.tab.evaluate(SEND, message)
        assert answer["error"].startswith(("what the passkey derived", "stored key")), change
    wrong = await holder.tab.evaluate(HAND, [told["id"], told["passkey"], point["result"]])
    assert wrong == {"error": "slot k2 does not open: wrong key, or the file was changed"}
    assert (await stage.state())["identities"][0]["locked"]


async def test_a_removed_passkey_opens_nothing(stage: Stage, holder: Holder, page: Any) -> None:
    """Its slot is gone, by the passphrase alone; the passphrase stays, and another can be made."""
    told = (await stage.state())["identities"][0]
    await holder.settings()
    await holder.open("A passkey opens this key")
    await holder.tab.locator(".for-passkey").fill("not this one, no")
    await holder.tab.get_by_role("button", name="Remove the passkey").click()
    assert "wrong passphrase" in await holder.said()
    await holder.tab.locator(".for-passkey").fill(PASSPHRASE)
    await holder.tab.get_by_role("button", name="Remove the passkey").click()
    assert "is removed" in await holder.said()
    assert await stored(holder.tab) == ["passphrase"]
    assert (await stage.state())["identities"][0]["passkey"] is None
    again = {"type": "remove_passkey", "id": told["id"], "opener": {"passphrase": PASSPHRASE}}
    answer = await holder.tab.evaluate(SEND, again)
    assert answer == {"error": "this key has no passkey"}
    await lock(stage)
    verify(parse_event(await unlocked(stage, page, NOTE)))


async def test_without_prf_there_is_none(stage: Stage) -> None:
    """An authenticator that derives nothing says so, and the key stays as it was."""
    holder = await Holder.of(stage, hasPrf=False)
    await holder.make()
    assert "can't seal a key" in await holder.said()
    assert await stored(holder.tab) == ["passphrase"]


async def test_after_a_restart_the_passkey_is_asked(
    stage: Stage, holder: Holder, origin: str
) -> None:
    """A restart locks and keeps the slot; a device without the passkey has a way back."""
    await holder.make()
    assert "The passkey opens the key now" in await holder.said()
    await stage.restart()
    holder = await Holder.of(stage)  # of another device: it has no passkey
    page = await stage.visit(origin)
    task = asyncio.create_task(stage.call(page, NOTE))
    await stage.asked_by(task)
    await holder.tab.goto(f"{stage.browser.own}prompt.html")
    await holder.tab.bring_to_front()
    await holder.tab.evaluate("void (window.close = () => {})")
    await holder.tab.locator("button[value=once]:enabled").click()
    assert "not confirmed" in await stage.see(holder.tab, ".bad:not([hidden])")
    await holder.tab.locator("input[type=password]:focus").fill(PASSPHRASE)
    await holder.tab.locator("button[value=once]:enabled").click()
    verify(parse_event(await task))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
async def test_no_copy_of_what_the_passkey_opens_is_left(tmp_path: Path, origin: str) -> None:
    """0 copies of the private key in any form after use; the wrapping key was in no message."""
    need(os.geteuid() == 0 or _may_trace(), "the right to read another process's memory")
    key = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    async with staged("chromium", tmp_path / "browser", built()) as stage:
        browser = _browser_pid()
        need(browser, "the browser's process")
        await stage.settle()
        await sealed(stage, key)
        holder = await Holder.of(stage)
        await holder.make()
        assert "The passkey opens the key now" in await holder.said()
        page = await stage.browser.open(origin)
        await stage.always(page, "window.nostr.getPublicKey()")
        for _ in range(5):
            await lock(stage)
            await holder.unlock()
            assert await holder.said() == "The key is open."
            await stage.always(page, NOTE)
        kept = tmp_path / "memory"
        save(renderers(browser), kept)
        params = (await stage.state())["identities"][0]["passkey"]
        derived = bytes(await holder.tab.evaluate(PRF, params))  # now that the memory is saved
    salt, info = bytes.fromhex(params["salt"]), b"nse:v2:passkey-prf" + key.pubkey.encode()
    wrapping = HKDF(SHA256(), 32, salt, info).derive(derived)
    with kept.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as memory:
        assert memory.find(key.pubkey.encode()) > 0, "the scan finds nothing, so it proves nothing"
        whole = {name: copies(memory, form) for name, form in forms(bytes(secret)).items()}
        opener = {
            name: copies(memory, form)
            for name, form in forms(wrapping).items()
            if name == "raw" or name.startswith("hex")
        }
    kept.unlink()
    assert sum(whole.values()) == 0, whole
    # WebCrypto has it in a key object until the next garbage collection; a message would be text.
    print(f"wrapping key: {opener}")
    assert opener["hex"] + opener["hex, two bytes a character"] == 0, opener


def copies(memory: mmap, form: bytes) -> int:
    return len(re.findall(re.escape(form), memory))


def save(pids: list[int], target: Path) -> None:
    """Write down all memory of some processes that is there and can be read."""
    with target.open("wb") as out:
        for pid in pids:
            folder = Path(f"/proc/{pid}")
            with (folder / "mem").open("rb", 0) as memory:
                for start, end in present(folder):
                    with contextlib.suppress(OSError, ValueError):
                        memory.seek(start)
                        out.write(memory.read(end - start))
