"""The owner's own relays, where their lists are looked up: added and taken away in the console."""

from pathlib import Path

from bunker_signer.approvers.lookup import MAX_CHOSEN
from signer.console._stage import CONSOLE, bound, http, stage

GIVEN = "ws://127.0.0.1:1"


async def test_relays_are_added_and_taken_away(relay_url: str, folder: Path) -> None:
    """Eight over TLS, each once, beside what was given at the start; a restart forgets none."""
    arguments = (*CONSOLE, "--own-relay", GIVEN)
    wanted = [f"wss://relay{number}.example" for number in range(MAX_CHOSEN)]
    async with stage(relay_url, folder, arguments) as on, http(on) as phone:
        csrf = await bound(on, phone)
        token = phone.cookies["device"]
        for url in ("WSS://Relay0.example:443/", *wanted, wanted[0]):
            answer = await phone.post("/own-relays/add", data={"csrf": csrf, "relay": url})
            assert answer.status_code == 303, url
        answer = await phone.post("/own-relays/add", data={"csrf": csrf, "relay": "wss://more"})
        assert answer.status_code == 400
        assert f"Up to {MAX_CHOSEN} relays" in answer.text
        for url in ("ws://relay.example", "https://relay.example", "wss://", "wss://a b", ""):
            answer = await phone.post("/own-relays/add", data={"csrf": csrf, "relay": url})
            assert answer.status_code == 400, url
            assert "starts with wss://" in answer.text, url
        for url, status in ((GIVEN, 404), (wanted[3], 303), (wanted[3], 404)):
            answer = await phone.post("/own-relays/remove", data={"csrf": csrf, "relay": url})
            assert answer.status_code == status, url
    async with stage(relay_url, folder, arguments) as on, http(on, token) as phone:
        page = (await phone.get("/devices")).text
        shown = page.split("Your own relays")[1].split("</ul>")[0]
        assert shown.count("named when the signer was started") == 1
        assert GIVEN in shown
        assert [url for url in wanted if f'value="{url}"' in shown] == wanted[:3] + wanted[4:]
        assert f'value="{GIVEN}"' not in shown
        log = (await phone.get("/activity")).text
        assert f"Own relay added: {wanted[7]}" in log
        assert f"Own relay taken away: {wanted[3]}" in log
        assert log.count("Own relay added") == MAX_CHOSEN


async def test_in_both_languages(relay_url: str, folder: Path) -> None:
    """The page says in the owner's language what the relays learn."""
    said = {"en": "nothing of the request", "de": "nichts von der Anfrage"}
    async with stage(relay_url, folder) as on, http(on) as phone:
        await bound(on, phone)
        for language, words in said.items():
            phone.cookies["language"] = language
            assert words in (await phone.get("/devices")).text
