"""`bunker relay ban, unban, allow, disallow, list, delete`, while the relay runs and while not."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from websockets.exceptions import InvalidStatus

from bunker_core.event import VerifiedEvent
from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_npub
from bunker_relay.cli import relay
from bunker_relay.event.lists import PROTECTED
from bunker_relay.event.moderation import HIDDEN
from relay.support.admin import ADMIN, call
from support.wire import PATIENCE, Peer, RelayProcess, Start, note, request

BAD, GOOD = SecretKey.generate(), SecretKey.generate()


def told(*arguments: str, said: str | None = None) -> str:
    """Run `bunker relay ...` and return what it prints."""
    result = _run(*arguments, said=said)
    assert result.exit_code == 0, result.output
    return result.stdout


def _run(*arguments: str, said: str | None = None) -> Result:
    return CliRunner().invoke(relay, arguments, input=said)


async def _filled(running: RelayProcess, count: int = 3) -> list[VerifiedEvent]:
    """Publish notes of both; return those of BAD."""
    async with Peer(running.url) as peer:
        notes = [note(BAD, f"bad {number}") for number in range(count)]
        for event in [*notes, note(GOOD, "good")]:
            assert (await peer.publish(event))[0]
    return notes


async def test_a_ban_hides_and_unban_brings_back(start: Start, tmp_path: Path, stored: str) -> None:
    """While the relay runs: what was stored is served no more, counted no more, and comes back."""
    running = start(data=tmp_path, config=stored)
    where = ("--data", str(tmp_path), "--config", str(tmp_path.with_suffix(".toml")))
    tmp_path.with_suffix(".toml").touch()
    notes = await _filled(running)
    npub = encode_npub(BAD.pubkey)
    assert told("ban", npub, "--reason", "spam", *where) == "banned; 3 stored events hidden\n"
    await running.logged("took the changed lists")
    async with Peer(running.url) as peer:
        assert await peer.ids({"authors": [BAD.pubkey]}) == []
        assert (await peer.publish(notes[0]))[1].startswith("blocked:")
        assert (await peer.publish(request(BAD, GOOD.pubkey)))[1].startswith("blocked:")
        assert len(await peer.ids({"authors": [GOOD.pubkey]})) == 1
        assert told("list", *where) == f"banned {npub}: spam\n"
        assert (tmp_path / HIDDEN / f"{BAD.pubkey}.jsonl").stat().st_mode & 0o077 == 0
        assert told("unban", npub, *where) == "no longer banned; 3 stored events back\n"
        assert set(await peer.ids({"authors": [BAD.pubkey]})) == {event.id for event in notes}
    assert told("list", *where) == "nobody and nothing is banned or allowed\n"
    assert list((tmp_path / HIDDEN).iterdir()) == []


async def test_what_slips_in_before_the_relay_looks_is_hidden_too(start: Start) -> None:
    """A list that somebody else wrote, with events stored: the relay itself hides them."""
    running = start()
    await _filled(running)
    lists: dict[str, Any] = {"banned_pubkeys": {BAD.pubkey: ""}, "allowed_pubkeys": {}}
    lists |= {"allowed_kinds": [], "disallowed_kinds": []}  # as an earlier version wrote it
    (running.data / "lists.json").write_text(json.dumps(lists))
    await running.logged("took the changed lists")
    async with Peer(running.url) as peer:
        while await peer.ids({"authors": [BAD.pubkey]}):
            pass
    assert (running.data / HIDDEN / f"{BAD.pubkey}.jsonl").read_text().count("\n") == 3


async def test_a_banned_event_is_gone_for_good(start: Start) -> None:
    """Deleted, and refused when it comes again; its author may write something else."""
    running = start()
    one, two, _ = await _filled(running)
    said = told("ban", "--event", one.id, "--data", str(running.data))
    assert said == "banned; 1 stored event deleted\n"
    await running.logged("took the changed lists")
    async with Peer(running.url) as peer:
        assert await peer.ids({"ids": [one.id]}) == []
        assert await peer.publish(one) == (False, "blocked: this event is banned here")
        assert (await peer.publish(two))[0]
        told("unban", "--event", one.id, "--data", str(running.data))
    running.stop()
    running = start(data=running.data)
    async with Peer(running.url) as peer:
        assert (await peer.publish(one))[0]


async def test_a_banned_address_is_hung_up_on(start: Start) -> None:
    """Who is connected is dropped, who connects gets 403, until the ban is lifted."""
    running = start()
    where = ("--data", str(running.data))
    async with Peer(running.url) as peer:
        await peer.subscribe("s", {"kinds": [1]})
        assert told("ban", "--ip", "127.0.0.0/8", *where) == "127.0.0.0/8 can't connect\n"
        assert await peer.close_code() == 1006
    with pytest.raises(InvalidStatus, match="403"):
        async with Peer(running.url):
            pass
    told("unban", "--ip", "127.0.0.0/8", *where)
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as http:
        while (await http.get(running.http_url + "/readyz")).status_code != 200:
            pass  # it connects, too
    assert (await _filled(running))[0]


async def test_delete(start: Start) -> None:
    """By id, author or filter; asked for first, and what else there is stays."""
    running = start()
    where = ("--data", str(running.data))
    notes = await _filled(running)
    more = [note(BAD, str(number)).to_json().decode() for number in range(1_200)]
    told("import", "-", *where, said="\n".join(more))  # several commits' worth
    assert _run("delete", *where).exit_code == 2
    assert _run("delete", "--filter", '{"kinds":[1],"limit":1}', *where).exit_code == 1
    refused = _run("delete", "--author", BAD.pubkey, *where, said="n\n")
    assert refused.exit_code == 1
    assert "delete 1203 stored events?" in refused.stderr
    assert told("delete", "--id", notes[0].id, "--yes", *where) == "1 stored event deleted\n"
    text = json.dumps({"authors": [BAD.pubkey], "kinds": [1]})
    said = told("delete", "--filter", text, *where, said="y\n")
    assert said.endswith("1202 stored events deleted\n")
    async with Peer(running.url) as peer:
        assert await peer.ids({"authors": [BAD.pubkey]}) == []
        assert len(await peer.ids({"authors": [GOOD.pubkey]})) == 1
        assert (await peer.publish(notes[0]))[0]


async def test_allow_and_disallow(start: Start) -> None:
    """A stopped relay takes the lists when it starts."""
    flags = ("--profile", "private", "--signer", GOOD.pubkey)
    running = start(*flags)
    running.stop()
    where = ("--data", str(running.data))
    told("allow", BAD.pubkey, *where)
    told("disallow", "--kind", "7", *where)
    assert told("list", *where).splitlines() == [
        f"allowed {encode_npub(BAD.pubkey)}",
        "refused kinds: 7",
    ]
    running = start(*flags, data=running.data)
    async with Peer(running.url) as peer:
        assert (await peer.publish(note(BAD)))[0]
        assert (await peer.publish(note(BAD, kind=7)))[1].startswith("blocked:")
        told("disallow", BAD.pubkey, *where)
        told("allow", "--kind", "7", *where)
        await running.logged("took the changed lists")
        while (await peer.publish(note(BAD, str(time.monotonic()))))[0]:
            pass
    assert json.loads(told("list", "--json", *where))["disallowed_kinds"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ban", "npub1x"), "not a pubkey"),
        (("ban", "--ip", "somewhere"), "not an IP address"),
        (("ban", "--event", "note1x"), "not an event id"),
        (("delete", "--yes", "--filter", "{"), "not a filter"),
        (("delete", "--yes", "--filter", '{"what":1}'), "not a filter"),
    ],
)
def test_what_is_misspelt_changes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """One line says what is wrong."""
    (tmp_path / "relay.sqlite3").touch()
    result = _run(*arguments, "--data", str(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["relay.sqlite3"]


def test_a_place_without_a_relay(tmp_path: Path) -> None:
    """A wrong --data is said, and nothing is made there."""
    result = _run("ban", BAD.pubkey, "--data", str(tmp_path / "none"))
    assert "there is no relay" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_finds_the_relay_of_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a plain `bunker up` no command needs --data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "nostr-bunker" / "relay").mkdir(parents=True)
    told("ban", BAD.pubkey)
    assert (tmp_path / "nostr-bunker" / "relay" / "lists.json").is_file()


def test_a_signer_can_not_be_banned(tmp_path: Path) -> None:
    """The configuration says who that is."""
    file = tmp_path / "relay.toml"
    file.write_text(f'signers = ["{GOOD.pubkey}"]')
    result = _run("ban", GOOD.pubkey, "--config", str(file), "--data", str(tmp_path))
    assert "can't be banned: it is a signer" in result.stderr


async def test_from_afar(start: Start) -> None:
    """NIP-86 does the same."""
    running = start("--admin", ADMIN.pubkey)
    one, *_ = await _filled(running)
    assert call(running, "banevent", one.id, "no") is True
    assert call(running, "listbannedevents") == [{"id": one.id, "reason": "no"}]
    assert call(running, "blockip", "192.0.2.7", "no") is True
    assert call(running, "listblockedips") == [{"ip": "192.0.2.7", "reason": "no"}]
    assert call(running, "unblockip", "192.0.2.7") is True
    assert call(running, "banpubkey", BAD.pubkey) is True
    async with Peer(running.url) as peer:
        assert await peer.ids({"authors": [BAD.pubkey]}) == []
        assert call(running, "unbanpubkey", BAD.pubkey) is True
        assert len(await peer.ids({"authors": [BAD.pubkey]})) == 2
        assert call(running, "allowevent", one.id) is True
        assert (await peer.publish(one))[0]


async def test_the_signer_of_a_running_relay_can_not_be_banned(
    start: Start, tmp_path: Path
) -> None:
    """The commands learn from the relay what only its flags said, as with `bunker up`."""
    signer, owner = SecretKey.generate(), SecretKey.generate()
    flags = ("--profile", "private", "--signer", signer.pubkey, "--owner", owner.pubkey)
    running = start(*flags, data=tmp_path)
    async with Peer(running.url) as peer:
        assert (await peer.publish(note(owner, "kept")))[0]
        for key, word in ((signer, "a signer of this relay"), (owner, "this relay's owner")):
            result = _run("ban", key.pubkey, "--data", str(tmp_path))
            assert (result.exit_code, result.stdout) == (1, "")
            assert f"can't be banned: it is {word}" in result.stderr
    assert not (tmp_path / HIDDEN).exists()
    assert (tmp_path / PROTECTED).stat().st_mode & 0o077 == 0
