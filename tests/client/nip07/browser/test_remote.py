"""The extension with a remote signer: pair, log in, sign, over our relay, in both browsers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bunker.harness import RunningSigner, running_relay, running_signer
from bunker_core.event import parse_event, verify
from bunker_core.nips.nip19 import parse_pubkey
from client.nip07._browsers import until
from client.nip07._stage import (
    DENIED,
    EXTENSION,
    FORTUNE,
    NAMES,
    NOTE,
    PEER,
    REACTION,
    Stage,
    built,
    bundled,
    check_every_method,
    check_refusals,
    packer,
    site,
    staged,
)
from support.commands import printed
from support.require import need

pytestmark = pytest.mark.asyncio(loop_scope="module")
HERE = Path(__file__).parent
# nostr-login looks profiles up at public relays; not from a test.
HERMETIC = """<!doctype html><meta http-equiv="Content-Security-Policy"
    content="default-src 'self' 'unsafe-inline'; frame-src 'none'"><body>"""
# Its dialog is made of shadow roots in shadow roots.
BUTTON = """(function find(root) {
    for (const element of root.querySelectorAll('*')) {
        if (element.matches('button') && element.textContent === 'With extension') return element;
        const inner = element.shadowRoot && find(element.shadowRoot);
        if (inner) return inner;
    }
    return null;
})(document)"""


@dataclass(slots=True)
class Setup:
    """A signer, and a browser that was paired with it."""

    stage: Stage
    signer: RunningSigner
    relay: str
    pubkey: str


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A web site, with an app made of client libraries, and two that bring a login of their own."""
    widget = HERE.parent / "node_modules/window.nostr.js/dist/window.nostr.js"
    login = HERE.parent / "node_modules/nostr-login/dist/unpkg.js"
    need(widget.is_file() and login.is_file(), "make peers (npm)")
    script = '<!doctype html><meta charset="utf-8"><script{} src="{}"></script>'
    eager = f"<!doctype html><script>void {FORTUNE}.then((event) => (window.said = event))</script>"
    pages = {
        "/eager": ("text/html", eager),
        "/app": ("text/html", script.format(' type="module"', "/app.js")),
        "/app.js": ("text/javascript", bundled(HERE / "app.js")),
        "/widget": ("text/html", script.format("", "/window.nostr.js")),
        "/window.nostr.js": ("text/javascript", widget.read_text()),
        "/login": (
            "text/html",
            HERMETIC + script.format(' data-start-screen="welcome-login"', "/login.js"),
        ),
        "/login.js": ("text/javascript", login.read_text()),
    }
    with site(pages) as at:
        yield at


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=NAMES)
async def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Setup]:
    """Install the packed file, open the settings, paste the signer's address."""
    built()
    folder = tmp_path_factory.mktemp(request.param)
    file = folder / f"extension.{'xpi' if request.param == 'firefox' else 'zip'}"
    packer().pack(EXTENSION, file)
    async with (
        running_relay(folder / "relay") as relay,
        running_signer(folder / "signer", [relay.url], arguments=("--profile", "full")) as signer,
        staged(request.param, folder / "browser", file) as stage,
    ):
        tab = await stage.options()
        await stage.fill(tab, "#uri", signer.uri)
        await stage.click(tab, "Pair")
        assert await stage.said(tab) == "Paired. Sites can log in with this extension now."
        yield Setup(stage, signer, relay.url, parse_pubkey(signer.npub))


@pytest.fixture(scope="module")
def stage(setup: Setup) -> Stage:
    """The browser of the setup."""
    return setup.stage


async def pair(stage: Stage, signer: RunningSigner) -> str:
    """Pair with one more signer; return the identity's id."""
    tab = await stage.options()
    await stage.fill(tab, "#uri", signer.uri)
    await stage.click(tab, "Pair")
    await stage.said(tab)
    identities = (await stage.state())["identities"]
    [found] = [one for one in identities if one["pubkey"] == parse_pubkey(signer.npub)]
    return str(found["id"])


async def test_a_site_signs_encrypts_and_reads_once_the_user_agreed(
    setup: Setup, page: Any, origin: str
) -> None:
    """Every method of NIP-07 works, each after its own question, and the events verify."""
    stage = setup.stage
    await check_every_method(stage, page, setup.pubkey)
    grants = (await stage.state())["sites"][origin]["grants"]
    assert [(item["method"], item["param"], item["effect"]) for item in grants] == [
        ("get_public_key", None, "allow"),
        ("nip44_encrypt", PEER, "allow"),
        ("nip04_encrypt", PEER, "allow"),
    ]


@pytest.mark.parametrize("library", ["nostrTools", "ndk"])
async def test_the_logins_of_client_libraries_work(
    setup: Setup, page: Any, origin: str, library: str
) -> None:
    """nostr-tools and NDK's NIP-07 signer log in, sign, encrypt and read; the events verify."""
    stage = setup.stage
    await stage.allow_all(page)
    tab = await stage.visit(f"{origin}/app")
    await until(lambda: stage.browser.evaluate(tab, f"typeof window.{library} === 'function'"))
    found = await stage.call(tab, f"window.{library}()")
    assert found == {"npub": setup.signer.npub, "verified": True, "read": "to myself"}


async def test_window_nostr_js_leaves_it_to_the_extension(
    setup: Setup, page: Any, origin: str
) -> None:
    """A page that brings a login of its own finds window.nostr taken, and works through it."""
    stage = setup.stage
    await stage.allow_all(page)
    tab = await stage.visit(f"{origin}/widget")
    assert await stage.call(tab, "window.nostr.getPublicKey()") == setup.pubkey
    assert (await stage.call(tab, NOTE))["pubkey"] == setup.pubkey


async def test_the_login_of_nostr_login_works(setup: Setup, page: Any, origin: str) -> None:
    """It takes window.nostr over, offers the extension in its dialog, and works through it."""
    stage = setup.stage
    await stage.allow_all(page)
    tab = await stage.visit(f"{origin}/login")
    ours = "Object.isFrozen(window.nostr)"
    await until(
        lambda: stage.browser.evaluate(tab, f"document.readyState === 'complete' && !{ours}")
    )
    login = asyncio.create_task(stage.call(tab, "window.nostr.getPublicKey()"))
    await until(lambda: stage.browser.evaluate(tab, f"Boolean({BUTTON})"))
    await stage.browser.evaluate(tab, f"void {BUTTON}.click()")
    assert await login == setup.pubkey
    assert verify(parse_event(await stage.call(tab, NOTE))).pubkey == setup.pubkey
    assert await stage.browser.evaluate(tab, ours)  # logged in, it hands the calls to ours


async def test_a_code_that_the_signer_scans_pairs_as_well(setup: Setup, page: Any) -> None:
    """The nostrconnect:// code names our relay; the signer that accepts it is the same identity."""
    stage = setup.stage
    tab = await stage.options()
    await stage.fill(tab, "#relay", setup.relay)
    await stage.click(tab, "Show a code")
    code = "document.querySelector('#invitation')?.value"
    address = await until(lambda: stage.browser.evaluate(tab, code))
    drawn = "document.querySelectorAll('.code svg path').length"
    assert await stage.browser.evaluate(tab, drawn) == 1
    data = str(stage.folder.parent / "signer")
    await printed("signer", "pair", address, "--data", data, "--profile", "full")
    await stage.said(tab)
    [identity] = (await stage.state())["identities"]
    assert identity["pubkey"] == setup.pubkey
    await stage.allow_all(page)
    assert (await stage.call(page, NOTE))["pubkey"] == setup.pubkey


async def test_a_site_can_be_refused_and_forgotten(setup: Setup, page: Any, origin: str) -> None:
    """No by a button, by closing the window, for good; forgotten, the site asks again."""
    stage = setup.stage
    await check_refusals(stage, page)
    tab = await stage.options()
    await stage.click(tab, "Forget this site")
    assert await stage.said(tab) == "Removed."
    assert isinstance(await stage.answered(page, REACTION, "once"), dict)


async def test_what_is_asked_goes_with_its_page(setup: Setup, page: Any, origin: str) -> None:
    """A tab that is closed or loaded anew takes its question along, and the next is asked."""
    stage = setup.stage
    closed, loaded = await stage.browser.open(origin), page
    for tab in (closed, loaded):
        await stage.browser.evaluate(tab, f"void {FORTUNE}.catch(() => 0)")
    await stage.prompt()
    await stage.browser.close(closed)
    await stage.browser.evaluate(loaded, "void location.reload()")

    async def nothing_waits() -> bool:
        return not (await stage.state())["waiting"]

    await until(nothing_waits)
    await stage.no_prompt()
    await until(lambda: stage.browser.evaluate(loaded, "!!window.nostr"))
    assert (await stage.answered(loaded, FORTUNE, "once"))["pubkey"] == setup.pubkey


async def test_frames_and_opaque_origins_have_no_signer(
    setup: Setup, page: Any, origin: str
) -> None:
    """What a page embeds can't ask in its name; a page without an origin can't be granted."""
    stage = setup.stage
    assert await stage.browser.evaluate(page, "window.early") == "object"
    assert await stage.browser.evaluate(page, "typeof frames[0].nostr") == "undefined"
    opaque = await stage.browser.open(f"{origin}/opaque")
    assert await stage.browser.evaluate(opaque, "[window.origin, typeof window.nostr]") == [
        "null",
        "undefined",
    ]
    posted = "{nostrBunker: 'call', id: 1, method: 'signEvent', params: [{kind: 1076}]}"
    await stage.browser.evaluate(opaque, f"void postMessage({posted}, '*')")  # round page.js
    await stage.browser.evaluate(opaque, "new Promise((said) => setTimeout(said))")  # it was read
    assert isinstance(await stage.answered(page, FORTUNE, "once"), dict)  # and no other is asked
    assert (await stage.state())["waiting"] == 0
    await stage.browser.close(opaque)


async def test_a_page_may_call_before_it_is_there(setup: Setup, page: Any, origin: str) -> None:
    """The first script in the head calls: it waits for its answer and gets it.

    Also in the place of a page that has called: what the browser says of that one, maybe later, is
    not of this one. One in four calls was lost by it in Firefox.
    """
    stage = setup.stage
    await stage.always(page, "window.nostr.getPublicKey()")
    for _ in range(3):
        tab = await stage.visit(f"{origin}/eager")
        window = await stage.prompt()
        assert await stage.browser.evaluate(tab, "window.said") is None
        await stage.press(window, "once")
        event = await until(lambda: stage.browser.evaluate(tab, "window.said"))  # noqa: B023
        assert verify(parse_event(event)).pubkey == setup.pubkey


async def test_a_flood_of_one_site_is_bounded_and_leaves_room_for_others(
    setup: Setup, page: Any, origin: str
) -> None:
    """1500 calls at once: 1024 wait as one question, the rest are told; another site is served."""
    stage = setup.stage
    flood = """void (window.said = [], Array.from({length: 1500}, (_, n) =>
        window.nostr.signEvent({kind: 1078, content: String(n), tags: []})
            .catch((error) => said.push(error.message))))"""
    other = await stage.browser.open(origin.replace("127.0.0.1", "localhost"))
    await stage.browser.evaluate(page, flood)
    window = await stage.prompt()
    key = asyncio.create_task(stage.call(other, "window.nostr.getPublicKey()"))
    refused = "window.said.length >= 1500 - 1024"
    await until(lambda: stage.browser.evaluate(page, refused))
    said = await stage.browser.evaluate(page, "window.said")
    assert said == ["rate-limited: too many requests wait for the user"] * (1500 - 1024)
    await stage.press(window, "deny")
    await until(lambda: stage.browser.evaluate(page, "window.said.length === 1500"))
    said = await stage.browser.evaluate(page, "window.said")
    assert said.count("denied: the user does not allow it") == 1024
    await stage.press(await stage.prompt(), "once")
    assert await key == setup.pubkey
    await stage.browser.close(other)


async def test_a_site_whose_requests_the_signer_sits_on_leaves_others_theirs(
    setup: Setup, page: Any, origin: str, tmp_path: Path
) -> None:
    """One site has 60 requests that wait for the signer's owner; another one's note is signed."""
    stage = setup.stage
    arguments = ("--profile", "basic", "--ask")
    async with running_signer(tmp_path, [setup.relay], arguments=arguments) as signer:
        identity = await pair(stage, signer)
        at = origin.replace("127.0.0.1", "localhost")
        other = await stage.browser.open(at)
        for site in (origin, at):
            await stage.tell("choose", origin=site, identity=identity)
        asked = "window.nostr.signEvent({kind: 1081, content: '', tags: []})"
        ask = f"void ({asked}).then(() => (window.over = true), () => (window.over = true))"
        await stage.browser.evaluate(page, ask)
        await stage.press(await stage.prompt(), "always")
        await stage.browser.evaluate(page, f"void Array.from({{length: 60}}, () => {ask})")
        assert (await stage.always(other, NOTE))["pubkey"] == parse_pubkey(signer.npub)
        assert await stage.browser.evaluate(page, "window.over") is None  # not one was answered
        await stage.tell("remove", id=identity)
        await stage.browser.close(other)


async def test_four_hundred_messages_are_read_after_one_question(setup: Setup, page: Any) -> None:
    """An inbox is opened: one answer for all of them, and every one comes, over the relay."""
    stage = setup.stage
    me = setup.pubkey
    payload = await stage.always(page, f"window.nostr.nip44.encrypt('{me}', 'hello')")
    many = f"""Promise.all(Array.from({{length: 400}}, () =>
        window.nostr.nip44.decrypt('{me}', '{payload}')))
        .then((all) => [all.length, [...new Set(all)].join()])"""
    assert await stage.always(page, many) == [400, "hello"]


async def test_a_large_text_goes_through_and_a_larger_one_is_refused(
    setup: Setup, page: Any
) -> None:
    """Half a mebibyte is encrypted by the signer; more than a million bytes fail in the page."""
    stage = setup.stage
    me = setup.pubkey
    large = f"window.nostr.nip44.encrypt('{me}', 'x'.repeat(400000)).then((p) => p.length)"
    assert await stage.always(page, large) > 500_000
    larger = f"window.nostr.nip44.encrypt('{me}', 'x'.repeat(1048576))"
    assert "larger than" in await stage.call(page, larger)


async def test_an_event_of_another_author_is_refused_in_words(setup: Setup, page: Any) -> None:
    """Apps name the author; another one's event is not signed, nor asked about."""
    other = f"window.nostr.signEvent({{kind: 1, content: '', tags: [], pubkey: '{PEER}'}})"
    assert "another author" in await setup.stage.call(page, other)


async def test_two_tabs_of_a_site_ask_one_after_the_other(
    setup: Setup, page: Any, origin: str
) -> None:
    """Each tab's question has a window of its own, and each tab gets its own answer."""
    stage = setup.stage
    other = await stage.browser.open(origin)
    asked = [
        asyncio.create_task(stage.call(tab, f"window.nostr.signEvent({event})"))
        for tab, event in (
            (page, "{kind: 1079, content: 'one', tags: []}"),
            (other, "{kind: 1080, content: 'two', tags: []}"),
        )
    ]
    await stage.press(await stage.prompt(), "once")
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    first = 0 if asked[0].done() else 1
    event = verify(parse_event(asked[first].result()))
    assert (event.content, event.pubkey) == (("one", "two")[first], setup.pubkey)
    await stage.press(await stage.prompt(), "deny")
    assert await asked[1 - first] == DENIED
    await stage.browser.close(other)


async def test_a_relay_that_is_gone_is_said_and_used_again_when_it_is_back(
    origin: str, setup: Setup, tmp_path: Path
) -> None:
    """No call hangs without its relay: it is told in words; with the relay back the next works."""
    stage = setup.stage
    async with running_relay(tmp_path / "relay") as relay:
        port = relay.port
        arguments = ("--profile", "full")
        async with running_signer(tmp_path / "s", [relay.url], arguments=arguments) as signer:
            identity, pubkey = await pair(stage, signer), parse_pubkey(signer.npub)
            at = origin.replace("127.0.0.1", "localhost")
            await stage.tell("choose", origin=at, identity=identity)
            page = await stage.browser.open(at)
            assert (await stage.always(page, NOTE))["pubkey"] == pubkey
            await relay.terminate()

            async def cut() -> bool:
                there = {one["id"]: one for one in (await stage.state())["identities"]}
                return not any(relay["ok"] for relay in there[identity]["relays"])

            await until(cut)
            said = await stage.call(page, NOTE)
            assert said.startswith("refused: error: no relay ")
            async with running_relay(tmp_path / "relay", port=port):

                async def signed() -> Any:  # once the signer, too, has found the relay again
                    answer = await stage.call(page, NOTE)
                    return answer if isinstance(answer, dict) else None

                assert (await until(signed))["pubkey"] == pubkey
            await stage.browser.close(page)
            await stage.tell("remove", id=identity)


async def test_a_restart_of_the_background_or_of_the_browser_forgets_nothing(
    setup: Setup, page: Any, origin: str
) -> None:
    """The installed file, the pairing and the grants outlast both."""
    stage = setup.stage
    await stage.allow_all(page)
    await stage.browser.stop_background()
    page = await stage.visit(origin)
    assert (await stage.call(page, NOTE))["pubkey"] == setup.pubkey
    await goes_with_its_page(stage, await stage.browser.open(origin))
    await stage.restart()
    page = await stage.visit(origin)
    assert (await stage.call(page, NOTE))["pubkey"] == setup.pubkey
    assert await stage.call(page, "window.nostr.getPublicKey()") == setup.pubkey


async def goes_with_its_page(stage: Stage, page: Any) -> None:
    """A page that called before the background ended, and calls again, takes its question along."""
    assert (await stage.call(page, NOTE))["kind"] == 1
    await stage.browser.stop_background()
    await stage.browser.evaluate(page, f"void {FORTUNE}.catch(() => 0)")
    await stage.prompt()
    await stage.browser.close(page)
    await stage.no_prompt()
    assert not (await stage.state())["waiting"]


async def test_a_signer_that_is_gone_is_said_in_words(setup: Setup, page: Any) -> None:
    """Without the signer a call fails in words within its time; with it back, the next works."""
    stage = setup.stage
    await stage.allow_all(page)
    await setup.signer.terminate()
    assert "the signer is offline" in await stage.call(page, NOTE)
    async with running_signer(stage.folder.parent / "signer", [setup.relay]):
        assert (await stage.call(page, NOTE))["pubkey"] == setup.pubkey
