"""A login is allowed for one place, and never for the relay that the signer runs on."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bunker_signer.policy import Profile, profile_grants
from bunker_signer.request.operation import hosts_of
from signer.request.support.rig import ALWAYS, DENY, Owner, rig

KINDS = {22242: "relay", 24242: "server", 27235: "u"}


def login(kind: int, *addresses: str) -> str:
    tags = [[KINDS[kind], address] for address in addresses]
    return json.dumps({"kind": kind, "tags": tags, "created_at": 1_700_000_000})


@pytest.mark.parametrize("kind", KINDS)
async def test_always_is_for_this_host(kind: int, relay_url: str, data: Path) -> None:
    """After "always" the same place is not asked for again, and another one is."""
    owner = Owner([ALWAYS, DENY])
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        here, there = "https://one.example/a", "https://two.example/b"
        assert not (await client.ask("sign_event", login(kind, here), rid="1")).error
        again = "https://one.example:443/other"
        assert not (await client.ask("sign_event", login(kind, again), rid="2")).error
        assert (await client.ask("sign_event", login(kind, there), rid="3")).error
        assert len(owner.asked) == 2
        (grant,) = signer.grants(client.key.pubkey)
        assert grant.param == f"{kind}:one.example"


async def test_always_for_nowhere_is_once(relay_url: str, data: Path) -> None:
    """A login that names no host, or several, makes no rule."""
    owner = Owner([ALWAYS, ALWAYS])
    async with rig(relay_url, data, approver=owner) as signer, signer.client() as client:
        for rid, addresses in enumerate([(), ("https://a.example/", "https://b.example/")]):
            event = login(27235, *addresses)
            assert not (await client.ask("sign_event", event, rid=f"{rid}")).error
        assert signer.grants(client.key.pubkey) == ()


@pytest.mark.parametrize("profile", [Profile.BASIC, Profile.FULL])
async def test_no_app_administers_our_relay(profile: Profile, relay_url: str, data: Path) -> None:
    """By no spelling of its address, alone or beside another, and without a question."""
    owner = Owner()
    port = urlsplit(relay_url).port
    async with (
        rig(relay_url, data, approver=owner) as signer,
        signer.client(granted=profile_grants(profile)) as client,
    ):
        ours = [f"http://{name}:{port}/" for name in ("127.0.0.1", "LOCALHOST", "[::1]")]
        tries = [(url,) for url in ours] + [
            (ours[0], "https://b.example/"),
            (f"http://u@{ours[0][7:]}",),
        ]
        for rid, addresses in enumerate(tries):
            answer = await client.ask("sign_event", login(27235, *addresses), rid=f"{rid}")
            assert answer.error == "denied: no app logs in to the signer's own relay for its owner"
        assert owner.asked == []


def test_one_place_has_one_spelling() -> None:
    """The default port, a dot at the end, capitals and the loopback's names do not matter."""
    assert hosts_of(["wss://Relay.Example.com:443", "ws://relay.example.com./x"]) == {
        "relay.example.com"
    }
    assert hosts_of(["ws://127.0.0.1:7777", "ws://[::1]:7777"]) == {"localhost:7777"}
