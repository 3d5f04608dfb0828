"""A follow list of 5,000 is signed through our relay, as people with long lists need it."""

import secrets
from pathlib import Path

from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner


async def test_five_thousand_follows_are_signed(tmp_path: Path) -> None:
    """Client, relay and signer as they come; 256 KiB, which the relay had, are 2,150."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:3") as agent,
        RemoteSigner.from_uri(agent.uri, timeout=30) as signer,
    ):
        tags = [["p", secrets.token_hex(32)] for _ in range(5_000)]
        event = await signer.sign_event({"kind": 3, "content": "", "tags": tags})
        assert [list(tag) for tag in event.tags] == tags
