"""The extension with the program on this machine: a page, the sealed key, both browsers."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from client.nip07._browsers import until
from client.nip07._stage import (
    DENIED,
    FORTUNE,
    NAMES,
    NOTE,
    PEER,
    REACTION,
    Stage,
    built,
    check_every_method,
    check_refusals,
    staged,
)
from support.commands import printed
from support.require import need

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True)
class Setup:
    """A key, and a browser with the extension, as the commands make them."""

    stage: Stage
    pubkey: str

    async def command(self, *arguments: str) -> str:
        return await printed("nip07", *arguments, "--directory", str(self.stage.folder / "nip07"))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=NAMES)
async def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Setup]:
    """The commands of the documentation: a key, the host, the extension."""
    built()
    folder = tmp_path_factory.mktemp(request.param)
    profile = folder / (".mozilla" if request.param == "firefox" else "profile")
    await printed("key", "new", "--data", str(folder / "signer"))
    await printed(
        *("nip07", "install", "--signer", f"nse:{folder / 'signer'}"),
        *("--browser", request.param, "--profile", str(profile)),
        *("--directory", str(folder / "nip07")),
    )
    told = json.loads(await printed("whoami", "--uri", f"nse:{folder / 'signer'}", "--json"))
    async with staged(request.param, folder, folder / "nip07" / "extension") as stage:
        yield Setup(stage, told["pubkey"])


@pytest.fixture(scope="module")
def stage(setup: Setup) -> Stage:
    """The browser of the setup."""
    return setup.stage


async def test_a_site_signs_encrypts_and_reads_once_the_user_agreed(
    setup: Setup, page: Any, origin: str
) -> None:
    """Every method of NIP-07 works, each after its own question, and the events verify."""
    await check_every_method(setup.stage, page, setup.pubkey)
    listed = await setup.command("sites")
    assert f"{origin}  get_public_key  allowed" in listed
    assert f"{origin}  nip44_encrypt  allowed until" in listed
    assert "sign_event" not in listed


async def test_what_a_page_hands_over_is_read_as_the_page_sees_it(setup: Setup, page: Any) -> None:
    """Proxies, functions, getters: signed as they read. What is no JSON: the page's own error."""
    stage = setup.stage
    event = "{kind: 1, get content() { return 'seen' }, tags: [], created_at: 1, f() {}}"
    for made in (event, f"new Proxy({event}, {{}})"):
        signed = await stage.answered(page, f"window.nostr.signEvent({made})", "once")
        assert (signed["content"], signed["kind"]) == ("seen", 1)
    circle = "window.nostr.signEvent((() => { let e = {}; return e.tags = e })())"
    for wrong, said in (
        ("window.nostr.signEvent({kind: 1n})", "BigInt"),
        ("window.nostr.signEvent({kind: 1, content: () => 'a signal'})", "content is a function"),
        ("window.nostr.signEvent({kind: 1, content: 'x', tags: Symbol('t')})", "tags is a symbol"),
        ("window.nostr.signEvent({kind: 1, content: 'x', created_at: NaN})", "created_at is a num"),
        (circle, "circular" if stage.name == "chromium" else "cyclic"),
        ("window.nostr.signEvent({kind: 1, content: '\\ud83d'})", "not Unicode"),
        (f"window.nostr.nip04.encrypt('{PEER}', '\\ud800')", "not Unicode"),
        (f"window.nostr.nip44.encrypt('{PEER}', 'x'.repeat(2000000))", "larger than"),
    ):
        assert said in await stage.call(page, wrong), wrong
    other = "window.nostr.signEvent({kind: 1, content: '', tags: [], pubkey: 'ab'.repeat(32)})"
    assert "another author" in await stage.answered(page, other, "once")
    # The host lives: the next question is asked and answered.
    assert isinstance(await stage.answered(page, FORTUNE, "once"), dict)


async def test_a_page_that_goes_round_its_script_ends_nobody_elses_signer(
    setup: Setup, page: Any
) -> None:
    """Half an emoji, two megabytes, no method, posted past page.js: refused, and the host lives."""
    posted = """new Promise((resolve) => {
        addEventListener("message", ({data}) => data.error && resolve(data.error), {once: false});
        postMessage({nostrBunker: "call", id: Math.random(), ...MORE}, location.origin);
    })"""
    for more, said in (
        ("{method: 'nip44.encrypt', params: ['p', '\\ud83d']}", "too large, or not Unicode"),
        ("{method: 'nip44.encrypt', params: ['p', 'x'.repeat(2000000)]}", "invalid: the call is l"),
        ("{method: 'eval', params: {length: 1e9}}", "invalid: unsupported:"),
    ):
        assert said in await setup.stage.call(page, posted.replace("MORE", more)), more
    assert "invalid:" in await setup.stage.call(page, "window.nostr.signEvent('x')")
    assert isinstance(await setup.stage.answered(page, FORTUNE, "once"), dict)


async def test_no_is_an_error_that_the_page_can_show(setup: Setup, page: Any, origin: str) -> None:
    """Denied by a button, denied by closing the window, and never again."""
    stage = setup.stage
    await check_refusals(stage, page)
    await setup.command("forget", origin)
    assert isinstance(await stage.answered(page, REACTION, "once"), dict)


async def test_what_a_site_says_is_shown_as_text(setup: Setup, page: Any, origin: str) -> None:
    """Markup is read and not carried out, what is hidden is marked, the browser names the site."""
    stage = setup.stage
    expression = (
        "window.nostr.signEvent({kind: 1, tags: [['t', 'x']],"
        " content: '<img src=x onerror=alert(1)>\\u202egnp', origin: 'https://bank.example'})"
    )
    task = asyncio.create_task(stage.call(page, expression))
    window = await stage.prompt()
    assert await stage.see(window, "#origin") == origin
    assert await stage.see(window, "h1") == "Post a note"
    assert await stage.see(window, ".content") == "<img src=x onerror=alert(1)>U+202Egnp"
    assert "invisible" in await stage.see(window, "main")
    exposed = "document.querySelector('#insecure') !== null"
    assert await stage.browser.evaluate(window, exposed) is False  # it is of this machine
    assert "bank.example" not in await stage.see(window, "body")
    assert await stage.browser.evaluate(window, "document.querySelectorAll('img').length") == 0
    await stage.press(window, "deny")
    assert await task == DENIED


async def test_a_site_that_is_sent_in_the_clear_is_marked(setup: Setup, origin: str) -> None:
    """By another machine and without encryption, what a site shows may be somebody else's."""
    stage = setup.stage
    at = origin.replace("127.0.0.1", "notes.example")
    page = await stage.browser.open(at)
    task = asyncio.create_task(stage.call(page, "window.nostr.getPublicKey()"))
    window = await stage.prompt()
    assert await stage.see(window, "#origin") == at
    assert "no encryption" in await stage.see(window, "#insecure")
    assert "who you are" in await stage.see(window, "main")
    await stage.press(window, "deny")
    assert await task == DENIED
    await stage.browser.close(page)


async def test_a_page_has_it_before_its_own_scripts_and_a_frame_never(
    setup: Setup, page: Any
) -> None:
    """The first script of a page finds `window.nostr`; what it embeds can't ask in its name."""
    evaluate = setup.stage.browser.evaluate
    assert await evaluate(page, "window.early") == "object"
    assert await evaluate(page, "typeof frames[0].nostr") == "undefined"
    assert await evaluate(page, "typeof window.nostr") == "object"
    other = "typeof chrome === 'undefined' || typeof chrome.runtime?.sendMessage"
    assert await evaluate(page, other) in (True, "undefined")


async def test_two_tabs_are_asked_about_one_after_the_other(
    setup: Setup, page: Any, origin: str
) -> None:
    """Questions of two tabs wait for each other, and each tab gets its own answer."""
    stage = setup.stage
    other = await stage.browser.open(origin)
    tasks = [
        asyncio.create_task(stage.call(tab, NOTE.replace("'hi'", f"'{name}'")))
        for tab, name in ((page, "one"), (other, "two"))
    ]
    for _ in tasks:
        await stage.press(await stage.prompt(), "once")
    assert sorted([(await task)["content"] for task in tasks]) == ["one", "two"]
    await stage.browser.close(other)


async def test_a_program_that_ends_is_said_and_started_again(setup: Setup, page: Any) -> None:
    """What waits for it is told in words and its question goes; the next call starts it anew."""
    need(Path("/proc/self").exists(), "/proc, to find the program by")
    stage = setup.stage
    task = asyncio.create_task(stage.call(page, FORTUNE))
    window = await stage.prompt()
    [program] = programs(str(stage.folder / "nip07"))
    os.kill(program, signal.SIGKILL)
    said = await task
    assert said.startswith("refused: error: bunker can't be reached: "), said
    assert said.endswith("; see bunker nip07 install")

    async def gone() -> bool:
        return not await stage.browser.there(window)

    await until(gone)
    assert isinstance(await stage.answered(page, FORTUNE, "once"), dict)
    assert programs(str(stage.folder / "nip07")) != [program]


def programs(directory: str) -> list[int]:
    """Return the processes that a browser started to answer with the key of `directory`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_text().split("\0")
                if "bunker_client.nip07" in words and directory in words:
                    found.append(int(folder.name))
    return found
