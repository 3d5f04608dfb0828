"""NIP-05: a name like `alice@example.com` for a pubkey, and where its remote signer is (NIP-46).

Pure: the caller fetches the document, and must not follow redirects (NIP-05).
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from bunker_core.errors import InvalidInput, InvalidURI
from bunker_core.event import is_hex
from bunker_core.nips.relay_url import is_loopback, parse_relay_url

_MAX_RELAYS: Final = 20

# NIP-05: a-z0-9-_. for the name; the domain may have a port.
_IDENTIFIER: Final = re.compile(
    r"(?:(?P<name>[a-z0-9._-]{1,64})@)?(?P<domain>[a-z0-9.-]{1,253}(?::[0-9]{1,5})?)"
)


@dataclass(frozen=True, slots=True)
class Identifier:
    """A name at a domain; `_` is the domain itself."""

    name: str
    domain: str

    def __str__(self) -> str:
        return self.domain if self.name == "_" else f"{self.name}@{self.domain}"

    @property
    def url(self) -> str:
        """Where the document is: https, but for this machine itself."""
        scheme = "http" if is_loopback(f"ws://{self.domain}") else "https"
        return f"{scheme}://{self.domain}/.well-known/nostr.json?name={quote(self.name)}"


@dataclass(frozen=True, slots=True)
class Document:
    """What a nostr.json says of one name. `signer_relays` is empty when it names no signer."""

    pubkey: str
    signer_pubkey: str
    signer_relays: tuple[str, ...] = ()
    nostrconnect_url: str | None = None


def parse_identifier(text: str) -> Identifier:
    """Read `name@domain` or `domain`; raises InvalidInput."""
    found = _IDENTIFIER.fullmatch(text.strip().lower())
    if found is None or "." not in found["domain"].replace("localhost", "."):
        raise InvalidInput("not a name like alice@example.com")
    return Identifier(found["name"] or "_", found["domain"])


def parse_document(value: object, name: str) -> Document:
    """Read the parsed nostr.json for `name`; raises InvalidInput.

    Knows the `nip46` of today (`relays`, `nostrconnect_url`) and the one before, which maps the
    remote signer's pubkey to its relays.
    """
    names = value.get("names") if isinstance(value, dict) else None
    pubkey = names.get(name) if isinstance(names, dict) else None
    if not isinstance(value, dict) or not is_hex(pubkey, 64):
        raise InvalidInput(f"the document has no public key for {name!r}")
    signer = value.get("nip46")
    if not isinstance(signer, dict):
        return Document(str(pubkey), str(pubkey))
    if "relays" in signer:
        url = signer.get("nostrconnect_url")
        return Document(
            str(pubkey), str(pubkey), _relays(signer["relays"]), url if _is_https(url) else None
        )
    for key, relays in signer.items():
        if is_hex(key, 64):
            return Document(str(pubkey), key, _relays(relays))
    return Document(str(pubkey), str(pubkey))


def _relays(value: object) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in value[:_MAX_RELAYS] if isinstance(value, list) else ():
        if isinstance(item, str):
            try:
                found[parse_relay_url(item)] = None
            except InvalidURI:
                continue  # one bad address does not make the others worse
    return tuple(found)


def _is_https(value: object) -> bool:
    return isinstance(value, str) and value.startswith("https://") and value.isprintable()
