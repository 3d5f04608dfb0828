"""doctor.py: each thing that can be wrong is found, and said with its remedy."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bunker.cli import main
from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner
from bunker_client.doctor import (
    Finding,
    Health,
    _information,
    _remedy,
    _tls,
    examine_relay,
    examine_session,
    examine_signer,
)
from bunker_client.errors import (
    ClientError,
    RelayUnreachable,
    RequestDenied,
    RequestTimeout,
    RequestTooLarge,
    SignerLocked,
    SignerOffline,
    WaitingForApproval,
    denial,
)
from bunker_core.nips.bunker_uri import parse_bunker_uri
from bunker_core.nips.nip46 import parse_permissions
from support.scripted import Message, Peer, Script, scripted_relay, scripted_signer
from support.strategies import secret_key

TIMEOUT = 1.0  # seconds for each step


async def relay_findings(url: str, *, clock_off: float = 0) -> dict[str, Finding]:
    """Return what is found at a relay, by the check's name without the URL."""
    found = examine_relay(url, TIMEOUT, lambda: time.time() + clock_off)
    return {item.check.removeprefix(f"{url} "): item async for item in found}


async def test_all_is_well_with_ours(tmp_path: Path) -> None:
    """Relay and signer of this repository: every check is good, and the secret is not used up."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as running,
    ):
        found = await relay_findings(relay.url)
        assert set(found) == {
            *("reachable", "TLS", "clock", "forwards requests", "keeps no requests"),
            *("AUTH", "NIP-11"),
        }
        assert {item.health for item in found.values()} == {Health.GOOD}
        uri = parse_bunker_uri(running.uri)
        signer = [
            item async for item in examine_signer(uri.relays, uri.remote_signer_pubkey, TIMEOUT)
        ]
        assert [item.health for item in signer] == [Health.GOOD]
        async with RemoteSigner.from_uri(uri, timeout=10) as app:
            asked = parse_permissions("sign_event:1,sign_event:7,nip44_decrypt,describe")
            session = {item.check: item async for item in examine_session(app, asked)}
        assert session["paired"].health is Health.GOOD
        assert session["round trip"].health is Health.GOOD
        assert session["permission sign_event:1"].health is Health.GOOD
        denied = session["permission sign_event:7"]
        assert denied.health is Health.BAD
        assert "grant it" in denied.remedy
        assert session["permission nip44_decrypt"].health is Health.BAD
        assert session["permission describe"].health is Health.UNKNOWN


async def test_all_is_well_with_what_bunker_up_makes(tmp_path: Path) -> None:
    """A relay for one signer: two unknown keys prove nothing there, and that is no fault."""
    init = CliRunner().invoke(main, ["init", "--data", str(tmp_path)])
    assert init.exit_code == 0, init.output
    signer_pubkey = init.output.partition("BUNKER_RELAY_SIGNERS=")[2][:64]
    gate = ["--profile", "bunker", "--signer", signer_pubkey]
    async with (
        running_relay(tmp_path / "relay", arguments=gate) as relay,
        running_signer(tmp_path / "signer", [relay.url]) as running,
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bunker", "doctor", running.uri),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        assert b"all is well" in out
        other = [item async for item in examine_signer([relay.url], secret_key(9).pubkey, TIMEOUT)]
        assert [item.health for item in other] == [Health.BAD]
        assert "does not serve it" in other[0].text


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (SignerLocked("ping", "locked: paused"), "unlock the key"),
        (WaitingForApproval("ping", 1, None), "shows its owner"),
        (RequestDenied("ping", "denied: not connected"), "pair anew"),
        (denial("ping", "unsupported: unknown method"), "does not know this method"),
        (denial("ping", "invalid: your clock is 400 s ahead of the relay's"), "by NTP"),
        (denial("ping", "invalid: too large for the relay, 9 of 8 bytes"), "larger messages"),
        (RequestTooLarge("ping"), "larger messages"),
        (SignerOffline("ping", "wss://r"), "start the signer"),
        (RequestTimeout("ping", 1, "silence"), "clocks"),
        (RelayUnreachable("ping"), "above first"),
    ],
)
def test_the_remedy_is_of_the_fault(error: ClientError, remedy: str) -> None:
    """Only a signer that does not know the client is paired anew."""
    assert remedy in _remedy(error)


async def test_an_unreachable_relay_is_the_only_finding(dead_url: str) -> None:
    """Nothing else is tried at a relay that is not there."""
    found = await relay_findings(dead_url)
    assert list(found) == ["reachable"]
    assert found["reachable"].health is Health.BAD
    assert found["reachable"].text == "connection refused"
    assert "firewall" in found["reachable"].remedy


@pytest.mark.parametrize(("off", "side"), [(-600, "ahead of"), (600, "behind")])
async def test_a_clock_that_is_off_is_told(off: float, side: str) -> None:
    """Ten minutes between the relay's clock and ours, to either side."""
    async with scripted_relay() as relay:
        found = await relay_findings(relay.url, clock_off=off)
    assert found["clock"].health is Health.WARNING
    assert f"{side} ours" in found["clock"].text


async def swallow(peer: Peer, message: Message) -> bool:
    if message[0] == "EVENT":
        await peer.send("OK", message[1]["id"], False, "blocked: kind")
    return bool(message[0] == "EVENT")


async def refuse(peer: Peer, message: Message) -> bool:
    if message[0] == "REQ":
        await peer.send("CLOSED", message[1], "restricted: members only")
    return bool(message[0] == "REQ")


@pytest.mark.parametrize(
    ("script", "said", "health"),
    [
        (swallow, "blocked: kind", Health.BAD),
        (refuse, "restricted: members only", Health.UNKNOWN),  # a paired client may be one
    ],
)
async def test_a_relay_that_does_not_forward_is_quoted(
    script: Script, said: str, health: Health
) -> None:
    """What the relay says is in the finding, with a relay that would do as the remedy."""
    async with scripted_relay(script) as relay:
        found = await relay_findings(relay.url)
    assert found["forwards requests"].health is health
    assert said in found["forwards requests"].text
    assert "kind 24133" in found["forwards requests"].text + found["forwards requests"].remedy


async def test_a_relay_that_keeps_requests_is_told() -> None:
    """Ephemeral events that come back from a later subscription were stored."""
    stored: list[Message] = []

    async def keep(peer: Peer, message: Message) -> bool:
        if message[0] == "EVENT":
            stored.append(message)
        if message[0] == "REQ" and stored:
            await peer.send("EVENT", message[1], stored[0][1])
        return False

    async with scripted_relay(keep) as relay:
        found = await relay_findings(relay.url)
    assert found["keeps no requests"].health is Health.WARNING


async def test_a_relay_that_insists_on_auth_is_told() -> None:
    """AUTH is answered by a throw-away key."""
    authenticated: set[Peer] = set()

    async def insist(peer: Peer, message: Message) -> bool:
        if message[0] == "AUTH":
            authenticated.add(peer)
            await peer.send("OK", message[1]["id"], True, "")
            return True
        if message[0] == "REQ" and peer not in authenticated:
            await peer.send("CLOSED", message[1], "auth-required: who are you")
            return True
        return False

    async with scripted_relay(insist) as relay:
        relay.greeting = ["AUTH", "challenge"]
        found = await relay_findings(relay.url)
    assert "throw-away key" in found["AUTH"].text


def test_tls_is_told_apart() -> None:
    """wss:// is good, ws:// is good on this machine alone."""
    assert _tls("wss://relay.example.com").health is Health.GOOD
    assert _tls("ws://127.0.0.1:7777").health is Health.GOOD
    assert _tls("ws://relay.example.com").health is Health.WARNING


async def test_a_relay_without_an_information_document_is_no_failure(dead_url: str) -> None:
    """NIP-11 is optional."""
    assert (await _information(dead_url, TIMEOUT)).health is Health.WARNING


async def test_a_signer_that_is_offline_or_says_nothing(dead_url: str) -> None:
    """`mute:` is a failure, silence is unknown: some signers do not answer strangers."""
    remote = secret_key(8).pubkey

    async def health(*relays: str, pubkey: str = remote) -> Health:
        [found] = [item async for item in examine_signer(relays, pubkey, TIMEOUT)]
        assert found.health is Health.GOOD or found.remedy
        return found.health

    async with scripted_relay() as relay:
        assert await health(relay.url) is Health.BAD
        async with scripted_signer(relay.url, answer=lambda _: []) as signer:
            assert await health(relay.url, pubkey=signer.transport.pubkey) is Health.UNKNOWN
    assert await health(dead_url) is Health.UNKNOWN
