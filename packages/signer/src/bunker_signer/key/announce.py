"""How a remote signer makes itself known: NIP-05 and NIP-89, as the appendix of NIP-46 has it."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from bunker_core.event import EventTemplate
from bunker_core.kinds import NOSTR_CONNECT

HANDLER_INFORMATION: Final = 31990  # NIP-89


def announcement(
    relays: Iterable[str],
    now: int,
    *,
    name: str = "",
    domain: str = "",
    nostrconnect_url: str = "",
) -> EventTemplate:
    """Return the NIP-89 event of a remote signer; its own key signs it, not the user's."""
    tags = [("d", "nostr-bunker"), ("k", str(NOSTR_CONNECT))]
    tags += [("relay", relay) for relay in relays]
    if nostrconnect_url:
        tags.append(("nostrconnect_url", nostrconnect_url))
    profile = {"name": name, "nip05": f"_@{domain}" if domain else ""}
    content = orjson.dumps({key: value for key, value in profile.items() if value}).decode()
    return EventTemplate(HANDLER_INFORMATION, content, tuple(tags), now)


def well_known(pubkey: str, relays: Iterable[str], nostrconnect_url: str = "") -> dict[str, Any]:
    """Return what `https://DOMAIN/.well-known/nostr.json?name=_` should answer."""
    nip46: dict[str, Any] = {"relays": list(relays)}
    if nostrconnect_url:
        nip46["nostrconnect_url"] = nostrconnect_url
    return {"names": {"_": pubkey}, "nip46": nip46}
