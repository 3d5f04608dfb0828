"""`bunker up --phone --domain --phone-domain`: the page behind Caddy, at a name of its own."""

import shutil
import sysconfig
from pathlib import Path

import pytest

from bunker_phone.phones import Phones
from phone._stage import Served, app_of, built, phone, sign
from signer.console._stage import browser
from signer.console.up.test_domain import flags, installed
from support.require import need

RELAY = "localhost"
NAME = "phone.localhost"  # RFC 6761: this machine, in every browser


async def test_the_story_at_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed link opens the page over TLS; the phone joins, pairs and signs at these names."""
    need(shutil.which("caddy", path=sysconfig.get_path("scripts")), "caddy (extra tls)")
    site = built()
    names = ("--phone", "--phone-domain", NAME)
    async with installed(tmp_path, ("#join=",), *names) as up:
        origin, relay = f"https://{NAME}:{up.port}", f"wss://{RELAY}:{up.port}"
        link = next(line for line in up.lines if "#join=" in line)
        assert link.startswith(f"{origin}/#join=")
        monkeypatch.setenv("SSL_CERT_FILE", str(up.authority / "root.crt"))
        served = Served(origin, relay, Phones(tmp_path / "phone"), site, [])
        trust = flags(up)[1]
        async with browser(trust, shell=True) as chromium, phone(chromium, served) as made:
            await made.first_run(link)
            assert [len(joined.pubkey) for joined in served.phones.all()] == [64]
            uri = await made.pair_uri()
            assert f"relay=wss%3A%2F%2F{RELAY}%3A{up.port}" in uri
            async with app_of(uri) as app:
                await made.show("Requests")
                asking = sign(app)
                await made.allow()
                assert (await asking).content == "Signed by the phone"
            answer = await made.page.goto(f"https://{RELAY}:{up.port}/version.json")
            assert answer is not None
            assert answer.status == 404  # no page of ours under the relay's name
