"""The owner's lists on disk, and their calls over HTTP (NIP-86, NIP-98)."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bunker_core.keys import SecretKey
from bunker_relay.config.sources import ConfigError, load
from bunker_relay.event.lists import FILE, Lists, ListsError
from relay.support.admin import ADMIN, RPC, authorization, call
from support.wire import Peer, RelayProcess, Start, note, request, running_relay

STRANGER = SecretKey.generate()
SIGNER = SecretKey.generate()


def test_lists_survive(tmp_path: Path) -> None:
    """What is changed is on disk when the block ends, and read again."""
    lists = Lists(tmp_path / FILE)
    with lists.change():
        lists.banned_pubkeys["a" * 64] = "spam"
        lists.allowed_pubkeys["b" * 64] = ""
        lists.disallow_kind(4)
        lists.allow_kind(1)
    again = Lists(tmp_path / FILE)
    assert again.banned_pubkeys == {"a" * 64: "spam"}
    assert again.allowed_pubkeys == {"b" * 64: ""}
    assert again.allowed_kinds == {1}
    assert again.disallowed_kinds == {4}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_kinds(tmp_path: Path) -> None:
    """Nothing allowed means all but the disallowed; one allowed means these alone."""
    lists = Lists(tmp_path / FILE)
    lists.disallow_kind(4)
    assert [lists.takes_kind(kind) for kind in (1, 4, 5)] == [True, False, True]
    lists.allow_kind(4)  # lifts the ban, and does not shut out the others
    assert [lists.takes_kind(kind) for kind in (1, 4, 5)] == [True, True, True]
    lists.allow_kind(1)
    assert [lists.takes_kind(kind) for kind in (1, 4, 5)] == [True, False, False]
    lists.disallow_kind(1)
    assert not lists.takes_kind(1)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"banned_pubkeys": {"x": ""}}', "null"])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    """A file that can't be read is an error, not empty lists: a ban would be gone."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ListsError):
        Lists(tmp_path / FILE)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """An open relay with an owner and a public address."""
    flags = ("--admin", ADMIN.pubkey, "--url", "wss://relay.example.com")
    with running_relay(tmp_path_factory.mktemp("lists") / "data", *flags) as relay:
        yield relay


def test_every_method_is_listed(relay: RelayProcess) -> None:
    """supportedmethods names what is there; the address may be spelled three ways."""
    for url in (relay.http_url, relay.url, "https://relay.example.com", "wss://relay.example.com/"):
        methods = call(relay, "supportedmethods", url=url)
    assert {"banpubkey", "allowpubkey", "allowkind", "disallowkind", "stats"} <= set(methods)


async def test_the_owner_bans_and_allows(relay: RelayProcess) -> None:
    """A banned pubkey and a disallowed kind are refused at once, until they are not any more."""
    spammer = SecretKey.generate()
    async with Peer(relay.url) as peer:
        assert (await peer.publish(note(spammer, "1")))[0]
        assert call(relay, "banpubkey", spammer.pubkey, "spam") is True
        assert call(relay, "listbannedpubkeys") == [{"pubkey": spammer.pubkey, "reason": "spam"}]
        for kind in (1, 24133):
            accepted, reason = await peer.publish(note(spammer, "2", kind=kind))
            assert not accepted
            assert reason.startswith("blocked:")
        assert call(relay, "unbanpubkey", spammer.pubkey) is True
        assert (await peer.publish(note(spammer, "3")))[0]
        assert call(relay, "disallowkind", 7) is True
        assert call(relay, "listdisallowedkinds") == [7]
        assert (await peer.publish(note(spammer, kind=7)))[1].startswith("blocked:")
        assert call(relay, "allowkind", 7) is True
        assert call(relay, "listallowedkinds") == []
        assert (await peer.publish(note(spammer, kind=7)))[0]
    stats = call(relay, "stats")
    assert stats["events_accepted"] >= 3
    assert stats["connections"] >= 1


async def test_an_allowed_pubkey_may_publish_on_a_private_relay(start: Start) -> None:
    """allowpubkey opens a private relay for a pubkey, and survives a restart."""
    guest = SecretKey.generate()
    flags = ("--profile", "private", "--signer", SIGNER.pubkey, "--admin", ADMIN.pubkey)
    relay = start(*flags)
    async with Peer(relay.url) as peer:
        assert not (await peer.publish(note(guest)))[0]
        call(relay, "allowpubkey", guest.pubkey)
        assert (await peer.publish(note(guest)))[0]
    relay.stop()
    relay = start(*flags, data=relay.data)
    async with Peer(relay.url) as peer:
        assert (await peer.publish(note(guest, "again")))[0]
        assert call(relay, "listallowedpubkeys") == [{"pubkey": guest.pubkey, "reason": ""}]
        call(relay, "unallowpubkey", guest.pubkey)
        assert not (await peer.publish(note(guest, "too late")))[0]


BODY = b'{"method":"supportedmethods","params":[]}'


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (STRANGER, {}),
        (ADMIN, {"kind": 22242}),
        (ADMIN, {"created_at": int(time.time()) - 3600}),
        (ADMIN, {"created_at": int(time.time()) + 3600}),
        (ADMIN, {"tags": {"u": "http://another.example.com"}}),
        (ADMIN, {"tags": {"u": ""}}),
        (ADMIN, {"tags": {"u": "nonsense"}}),
        (ADMIN, {"tags": {"method": "GET"}}),
        (ADMIN, {"tags": {"method": ""}}),
        (ADMIN, {"tags": {"payload": "0" * 64}}),
        (ADMIN, {"tags": {"payload": "☂"}}),
        (ADMIN, {"tags": {"payload": ""}}),
    ],
)
def test_an_authorization_that_does_not_fit_is_401(
    relay: RelayProcess, key: SecretKey, changes: dict[str, Any]
) -> None:
    """Another key, kind, time, address, method or body: nobody gets in."""
    header = authorization(BODY, relay.http_url, key, **changes)
    headers = {"Content-Type": RPC, "Authorization": header}
    reply = httpx.post(relay.http_url, content=BODY, headers=headers)
    assert reply.status_code == 401
    assert reply.json()["error"]


@pytest.mark.parametrize(
    "header", ["", "Nostr", "Nostr !!", "Basic eDp4", "Nostr e30=", "Nostr W10="]
)
def test_what_is_no_authorization_is_401(relay: RelayProcess, header: str) -> None:
    """Neither is junk."""
    headers = {"Content-Type": RPC, "Authorization": header}
    assert httpx.post(relay.http_url, content=BODY, headers=headers).status_code == 401


def test_an_authorization_counts_once(relay: RelayProcess) -> None:
    """Whoever has seen a call can't repeat it."""
    body = json.dumps({"method": "supportedmethods", "at": time.time_ns()}).encode()
    headers = {"Content-Type": RPC, "Authorization": authorization(body, relay.http_url)}
    codes = [httpx.post(relay.http_url, content=body, headers=headers).status_code for _ in "ab"]
    assert codes == [200, 401]


def test_a_forged_signature_is_401(relay: RelayProcess) -> None:
    """The event is verified like any other."""
    header = authorization(BODY, relay.http_url, created_at=int(time.time()) - 1)
    event = json.loads(base64.b64decode(header.removeprefix("Nostr "))) | {"sig": "0" * 128}
    forged = "Nostr " + base64.b64encode(json.dumps(event).encode()).decode()
    headers = {"Content-Type": RPC, "Authorization": forged}
    reply = httpx.post(relay.http_url, content=BODY, headers=headers)
    assert (reply.status_code, reply.json()["error"]) == (401, "signature does not match")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"5", b"{}", b'{"method":"deleteeverything","params":[]}', b'{"method":[]}',
        b'{"method":"banpubkey","params":{}}', b'{"method":"banpubkey","params":[]}',
        b'{"method":"banpubkey","params":["npub1x"]}', b'{"method":"allowkind","params":[-1]}',
        b'{"method":"allowkind","params":[true]}',
        b'{"method":"banpubkey","params":["' + b"a" * 64 + b'",5]}',
    ],
)  # fmt: skip
def test_a_call_that_is_none_is_400(relay: RelayProcess, body: bytes) -> None:
    """Unknown methods and wrong parameters change nothing and say so."""
    created_at = int(time.time()) - len(body) % 50  # else two calls could be one event
    header = authorization(body, relay.http_url, created_at=created_at)
    headers = {"Content-Type": RPC, "Authorization": header}
    reply = httpx.post(relay.http_url, content=body, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_a_large_call_is_413(relay: RelayProcess) -> None:
    """A call is read up to 64 KiB, authorized or not."""
    headers = {"Content-Type": RPC}
    assert httpx.post(relay.http_url, content=b"x" * 100_000, headers=headers).status_code == 413


def test_without_an_admin_there_is_no_administration_from_afar(start: Start) -> None:
    """An app that gets a signature of the owner's key has nothing to call."""
    relay = start("--owner", ADMIN.pubkey)
    headers = {"Content-Type": RPC, "Authorization": authorization(BODY, relay.http_url)}
    reply = httpx.post(relay.http_url, content=BODY, headers=headers)
    assert (reply.status_code, "admin" in reply.json()["error"]) == (405, True)
    document = httpx.get(relay.http_url, headers={"Accept": "application/nostr+json"}).json()
    assert 86 not in document["supported_nips"]


@pytest.mark.parametrize("role", ["owner", "signers"])
def test_the_admin_is_a_key_of_its_own(role: str) -> None:
    """A key that apps get signatures of can't be the admin's."""
    pubkey = ADMIN.pubkey
    with pytest.raises(ConfigError, match="a key of its own"):
        load(None, admin=pubkey, **{role: pubkey if role == "owner" else [pubkey]})


async def test_whom_the_relay_is_there_for_is_never_banned(start: Start) -> None:
    """Signers, owner and admin: the call is refused, and a list edited by hand has no effect."""
    owner = SecretKey.generate()
    flags = ("--signer", SIGNER.pubkey, "--owner", owner.pubkey, "--admin", ADMIN.pubkey)
    relay = start(*flags)
    body = {"method": "banpubkey"}
    for key in (SIGNER, owner, ADMIN):
        content = json.dumps(body | {"params": [key.pubkey]}).encode()
        headers = {"Content-Type": RPC, "Authorization": authorization(content, relay.http_url)}
        async with httpx.AsyncClient() as http:
            reply = await http.post(relay.http_url, content=content, headers=headers)
        assert (reply.status_code, "can't be banned" in reply.json()["error"]) == (403, True)
    lists = Lists(relay.data / FILE)
    with lists.change():
        lists.banned_pubkeys = dict.fromkeys((SIGNER.pubkey, owner.pubkey, STRANGER.pubkey), "")
    async with Peer(relay.url) as peer:
        await relay.logged("took the changed lists")
        assert not (await peer.publish(note(STRANGER, kind=20001)))[0]
        assert (await peer.publish(note(owner)))[0]
        assert (await peer.publish(request(SIGNER, STRANGER.pubkey)))[0]


async def test_changed_lists_hold_within_a_second(start: Start) -> None:
    """Whoever changed the file, and without a signal; a damaged one changes nothing."""
    relay = start()
    banned = SecretKey.generate()
    lists = Lists(relay.data / FILE)
    async with Peer(relay.url) as peer:
        assert (await peer.publish(note(banned, kind=20001)))[0]
        with lists.change():
            lists.banned_pubkeys[banned.pubkey] = "by hand"
        await relay.logged("took the changed lists")
        assert not (await peer.publish(note(banned, "banned", kind=20001)))[0]
        (relay.data / FILE).write_text("{")
        await relay.logged("kept the old lists")
        assert relay.log().count("kept the old lists") == 1
        assert not (await peer.publish(note(banned, "still", kind=20001)))[0]
