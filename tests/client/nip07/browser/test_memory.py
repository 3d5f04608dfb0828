"""Zeroing, seen from outside: the browser's memory after the extension's key was used."""

import os
import sys
from pathlib import Path

import pytest

from bunker_core.keys import SecretKey
from bunker_core.nips import nip49
from client.nip07._stage import NAMES, built, site, staged
from client.nip07.browser.test_sealed import COPY, seal
from phone.browser.test_memory import _browser_pid, _may_trace, count, forms, renderers
from support.require import need

pytestmark = pytest.mark.asyncio(loop_scope="module")
COUNT = 50  # of each: sign, and encrypt and read in both ways

EVERYTHING = f"""(async () => {{
    const me = await window.nostr.getPublicKey();
    for (let n = 0; n < {COUNT}; n++) {{
        await window.nostr.signEvent({{kind: 1, content: String(n), tags: []}});
        for (const way of ["nip44", "nip04"]) {{
            const payload = await window.nostr[way].encrypt(me, "to myself");
            await window.nostr[way].decrypt(me, payload);
        }}
    }}
    return me;
}})()"""
# What the command line of a process that runs pages has; Firefox's are of every sort.
MARKS = {"chromium": b"--type=renderer", "firefox": b"-contentproc"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
async def test_no_copy_of_the_key_after_every_operation(name: str, tmp_path: Path) -> None:
    """0 copies in any form in the page's and the extension's processes; the pubkey is found."""
    need(os.geteuid() == 0 or _may_trace(), "the right to read another process's memory")
    key = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    with site() as origin:
        async with staged(name, tmp_path / "browser", built()) as stage:
            browser = _browser_pid()
            need(browser, "the browser's process")
            await stage.settle()
            await seal(stage, nip49.encrypt(secret, COPY, log_n=4), COPY)
            brought = count(renderers(browser, MARKS[name]), forms(bytes(secret)))
            page = await stage.browser.open(origin)
            me = await stage.always(page, "window.nostr.getPublicKey()")
            await stage.allow_all(page)
            payload = await stage.always(page, f"window.nostr.nip04.encrypt('{me}', 'x')")
            await stage.always(page, f"window.nostr.nip04.decrypt('{me}', '{payload}')")
            assert await stage.call(page, EVERYTHING) == key.pubkey
            processes = renderers(browser, MARKS[name])
            wanted = {"pubkey": key.pubkey.encode(), **forms(bytes(secret))}
            found = count(processes, wanted)
            control = found.pop("pubkey")
    print(name, len(processes), "processes", found, control)
    assert len(processes) >= 2  # the page's and the extension's
    assert control > 0, "the scan finds nothing, so it proves nothing"
    assert sum(brought.values()) == 0, brought  # by its import
    assert sum(found.values()) == 0, found
