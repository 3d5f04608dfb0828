"""Clients of other projects, as processes of their own, against our signer through our relay."""

from pathlib import Path

import pytest

from bunker.harness import RunningSigner, running_relay, running_signer
from bunker_core.event import parse_event, verify
from bunker_core.nips.nip19 import parse_pubkey
from interop.peers import Peer, Row, library_version, node, python, running

# All that the clients use, and no reaction (kind 7): asking for one has to be denied.
GRANTS = "sign_event:1,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"
COMMANDS = {
    "nostr-tools": (node, "nostr_tools_client.mjs"),
    "NDK": (node, "ndk_client.mjs"),
    "nostr_sdk": (python, "nostr_sdk_client.py"),
}
NOT_OFFERED = {
    "nostr-tools": (),
    "NDK": (),
    "nostr_sdk": (
        "nip44 66 kB",  # the library is older than NIP-44's extended length prefix
        "ping",
        "switch_relays",
        "unknown method",
        "logout",
        "after logout",
    ),
}

libraries = pytest.mark.parametrize("library", COMMANDS)


def command(library: str) -> tuple[str, ...]:
    kind, script = COMMANDS[library]
    return kind(script)


async def judge(peer: Peer, signer: RunningSigner, row: Row, library: str) -> None:
    """Let the client do all it can; what it got signed is checked by our own code too."""
    await peer.finish()
    row.outcomes = peer.outcomes
    row.expect(not_offered=NOT_OFFERED[library])
    user = parse_pubkey(signer.npub)
    assert peer.told["user"] == user
    event = verify(parse_event(peer.told["signed"]))
    assert event.pubkey == user
    assert event.content.startswith("Signed from desktop, key on phone!")


@libraries
async def test_a_client_logs_in_by_bunker_uri(library: str, row: Row, tmp_path: Path) -> None:
    """The signer's URI is all that a client of another project needs, from login to logout."""
    row.name = f"{library_version(library)}, bunker://"
    program = command(library)
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow=GRANTS) as signer,
        running(*program, "bunker", signer.uri) as peer,
    ):
        await judge(peer, signer, row, library)


@libraries
async def test_a_client_logs_in_by_nostrconnect_uri(library: str, row: Row, tmp_path: Path) -> None:
    """The client's URI is all that our signer needs, as each library writes it."""
    row.name = f"{library_version(library)}, nostrconnect://"
    program = command(library)
    async with (
        running_relay(tmp_path / "relay") as relay,
        running(*program, "nostrconnect", relay.url) as peer,
    ):
        uri = await peer.until("uri")
        async with running_signer(
            tmp_path / "signer", [relay.url], allow=GRANTS, arguments=("--connect", uri)
        ) as signer:
            await judge(peer, signer, row, library)
