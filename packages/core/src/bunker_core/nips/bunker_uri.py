"""The two URIs that start a NIP-46 connection: bunker:// and nostrconnect://.

Read by hand rather than with a URL library: browsers and libraries disagree on what is host and
what is path in an unknown scheme, while the shape here is `scheme://<64 hex>?<query>`.
"""

import re
import secrets
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

import orjson

from bunker_core.errors import InvalidEntity, InvalidURI
from bunker_core.event import is_hex
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import (
    ClientMetadata,
    Permission,
    format_permissions,
    metadata_from,
    parse_permissions,
)
from bunker_core.nips.relay_url import parse_relay_url

MAX_URI: Final = 16384  # characters
MAX_RELAYS: Final = 20
MAX_SECRET: Final = 256  # characters
_SECRET_BYTES: Final = 16

# What is left of a value that a client percent-encoded twice (NDK).
_DOUBLY_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True, slots=True)
class BunkerURI:
    """`bunker://`: the remote signer invites a client."""

    remote_signer_pubkey: str
    relays: tuple[str, ...]
    secret: str | None = None

    def __str__(self) -> str:
        pairs = [("relay", relay) for relay in self.relays]
        if self.secret is not None:
            pairs.append(("secret", self.secret))
        return f"bunker://{self.remote_signer_pubkey}?{_query(pairs)}"

    def __repr__(self) -> str:  # the secret must not reach a log by way of a repr
        return (
            f"BunkerURI(remote_signer_pubkey={self.remote_signer_pubkey!r}, relays={self.relays})"
        )


# What a signer's owner is told of an invitation without a secret: rust-nostr up to 0.44 makes such.
UNPROTECTED: Final = (
    "the app's invitation has no secret, so the app can't tell this signer from an impostor: "
    "if it can, let it log in with a bunker:// URI instead"
)


@dataclass(frozen=True, slots=True)
class NostrConnectURI:
    """`nostrconnect://`: a client asks a remote signer to get in touch.

    `secret` is None in the invitations of some older clients, against NIP-46. They are answered
    "ack" in its place; whoever else answers first has such a client, and nothing of the signer's.
    """

    client_pubkey: str
    relays: tuple[str, ...]
    secret: str | None
    permissions: tuple[Permission, ...] = ()
    metadata: ClientMetadata = field(default_factory=ClientMetadata)

    def __str__(self) -> str:
        pairs = [("relay", relay) for relay in self.relays]
        if self.secret is not None:
            pairs.append(("secret", self.secret))
        if self.permissions:
            pairs.append(("perms", format_permissions(self.permissions)))
        for name in ("name", "url", "image"):
            if value := getattr(self.metadata, name):
                pairs.append((name, value))
        # rust-nostr up to 0.44 reads no invitation without this older form
        pairs.append(("metadata", orjson.dumps({"name": self.metadata.name}).decode()))
        return f"nostrconnect://{self.client_pubkey}?{_query(pairs)}"

    def __repr__(self) -> str:
        return f"NostrConnectURI(client_pubkey={self.client_pubkey!r}, relays={self.relays})"


def new_secret() -> str:
    """Return a fresh secret of 32 hex characters: nostr-tools takes no `+`, `~` or `*`."""
    return secrets.token_hex(_SECRET_BYTES)


def parse_bunker_uri(text: str) -> BunkerURI:
    """Read a bunker:// URI; raises InvalidURI that says what is wrong with it."""
    pubkey, pairs = _split(text, "bunker")
    values = dict(pairs)
    return BunkerURI(pubkey, _relays(pairs), _secret(values.get("secret")))


def parse_nostrconnect_uri(text: str) -> NostrConnectURI:
    """Read a nostrconnect:// URI, also with the older `metadata={json}`; raises InvalidURI."""
    pubkey, pairs = _split(text, "nostrconnect")
    values = dict(pairs)
    secret = _secret(values.get("secret"))
    fields: dict[str, object] = {}
    if "metadata" in values:
        try:
            old = orjson.loads(values["metadata"])
        except orjson.JSONDecodeError:
            old = None
        if isinstance(old, dict):
            fields.update(old)
            values.setdefault("perms", old["perms"] if isinstance(old.get("perms"), str) else "")
    # NDK sends `image=&url=&name=`: empty is absent
    fields.update(
        {key: _decode_again(values[key]) for key in ("name", "url", "image") if values.get(key)}
    )
    return NostrConnectURI(
        pubkey,
        _relays(pairs),
        secret,
        parse_permissions(_decode_again(values.get("perms", ""))),
        metadata_from(fields),
    )


def _split(text: str, scheme: str) -> tuple[str, list[tuple[str, str]]]:
    text = text.strip()
    if len(text) > MAX_URI:
        raise InvalidURI(f"{scheme} URI is too long")
    head, separator, rest = text.partition(":")
    if not separator or head.lower() != scheme:
        raise InvalidURI(f"not a {scheme}:// URI")
    # `bunker:<pubkey>` and a slash before the query are seen in the field
    authority, _, query = rest.removeprefix("//").partition("?")
    # and so is `bunker://<npub>@<relay>`, of before NIP-46 had a query
    authority, _, old_relay = authority.partition("@")
    authority = authority.rstrip("/")
    try:
        pubkey = authority if is_hex(authority, 64) else parse_pubkey(authority)
    except InvalidEntity:
        raise InvalidURI(f"{scheme} URI has no public key of 64 hex characters") from None
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=64)
    except ValueError:
        raise InvalidURI(f"{scheme} URI has a query that can't be read") from None
    if old_relay:
        pairs.insert(0, ("relay", old_relay if "://" in old_relay else f"wss://{old_relay}"))
    return pubkey, pairs


def _relays(pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return the relays that can be used; raises InvalidURI when there is none."""
    found: dict[str, None] = {}
    wrong: InvalidURI | None = None
    for key, value in pairs:
        if key == "relay" and value:
            try:
                found[parse_relay_url(_decode_again(value))] = None
            except InvalidURI as error:
                wrong = wrong or error
    if not found:
        raise InvalidURI(f"URI: {wrong}" if wrong else "URI names no relay")
    if len(found) > MAX_RELAYS:
        raise InvalidURI(f"URI names more than {MAX_RELAYS} relays")
    return tuple(found)


def _decode_again(value: str) -> str:
    if "://" not in value and _DOUBLY_ENCODED.search(value):
        return unquote(value)
    return value


def _secret(value: str | None) -> str | None:
    if not value:
        return None
    if len(value) > MAX_SECRET or not value.isprintable():
        raise InvalidURI("secret is too long or has control characters")
    return value


def _query(pairs: list[tuple[str, str]]) -> str:
    # nostr-tools takes neither the `+` of quote_plus nor the `~` of quote in a bunker URI
    return "&".join(f"{key}={quote(value, safe='').replace('~', '%7E')}" for key, value in pairs)
