"""What a remote signer says of itself, as NIP-05, NIP-89 and the appendix of NIP-46 have it."""

import json

from bunker_signer.key.announce import announcement, well_known

RELAYS = ("wss://one.example", "wss://two.example")
PAGE = "https://me.example/<nostrconnect>"
PUBKEY = "ab" * 32


def test_an_announcement_names_no_more_than_was_said() -> None:
    """Kind, relays and what it is for; a name, a domain and a page if there are such."""
    least = announcement(RELAYS, 1_700_000_000)
    assert (least.kind, least.created_at, json.loads(least.content)) == (31990, 1_700_000_000, {})
    assert least.tags == (
        ("d", "nostr-bunker"),
        ("k", "24133"),
        ("relay", RELAYS[0]),
        ("relay", RELAYS[1]),
    )
    full = announcement(RELAYS[:1], 1, name="Mine", domain="me.example", nostrconnect_url=PAGE)
    assert full.tags[2:] == (("relay", RELAYS[0]), ("nostrconnect_url", PAGE))
    assert json.loads(full.content) == {"name": "Mine", "nip05": "_@me.example"}


def test_the_domains_file_names_the_key_and_its_relays() -> None:
    """The name is `_`, the domain's own."""
    names = {"_": PUBKEY}
    assert well_known(PUBKEY, RELAYS) == {"names": names, "nip46": {"relays": list(RELAYS)}}
    assert well_known(PUBKEY, (), PAGE) == {
        "names": names,
        "nip46": {"relays": [], "nostrconnect_url": PAGE},
    }
