"""`nbunksec1...`: a client's whole pairing in one text, as CI jobs and deploy tools keep it.

No NIP has it; nsyte made it and applesauce reads it. bech32 of TLV as in NIP-19: 0 remote-signer
pubkey, 1 client key, 2 relay (repeated), 3 secret (optional). Whoever has it is that client.
"""

from typing import Final

from bunker_core.errors import InvalidEntity
from bunker_core.keys import SecretKey, wipe
from bunker_core.nips.bunker_uri import MAX_RELAYS, BunkerURI
from bunker_core.nips.nip19 import decode_bech32, encode_bech32
from bunker_core.nips.relay_url import parse_relay_url

NAME: Final = "nbunksec"
_REMOTE, _KEY, _RELAY, _SECRET = range(4)
_LONGEST: Final = 255  # bytes of a value: its length is one byte


def is_nbunksec(text: str) -> bool:
    """Tell whether `text` is meant as one; `parse_nbunksec` says whether it holds."""
    return text.strip().lower().startswith(f"{NAME}1")


def encode_nbunksec(uri: BunkerURI, key: SecretKey) -> str:
    """Return the text of a pairing; raises InvalidEntity for a relay that does not fit."""
    secret = bytearray(32)
    key.copy_secret(secret)
    data = bytearray()
    try:
        remote = bytearray.fromhex(uri.remote_signer_pubkey)
        values = [(_REMOTE, remote), (_KEY, secret)]
        values += [(_RELAY, bytearray(relay.encode())) for relay in uri.relays]
        values += [(_SECRET, bytearray(uri.secret.encode()))] if uri.secret else []
        for kind, value in values:
            if len(value) > _LONGEST:
                raise InvalidEntity("a relay or the secret is too long for an nbunksec")
            data += bytes([kind, len(value)]) + value
        return encode_bech32(NAME, data)
    finally:
        wipe(secret)
        wipe(data)


def parse_nbunksec(text: str) -> tuple[BunkerURI, SecretKey]:
    """Return who signs and where, and the client's key; raises InvalidEntity or InvalidURI."""
    name, data = decode_bech32(text.strip())
    try:
        if name != NAME:
            raise InvalidEntity("not an nbunksec")
        values: dict[int, list[bytearray]] = {}
        rest = memoryview(data)
        while rest:
            if len(rest) < 2 or len(rest) < 2 + rest[1]:
                raise InvalidEntity("nbunksec ends in the middle of a value")
            values.setdefault(rest[0], []).append(bytearray(rest[2 : 2 + rest[1]]))
            rest = rest[2 + rest[1] :]
        remote, key = (values.get(kind, [bytearray()])[0] for kind in (_REMOTE, _KEY))
        if len(remote) != 32 or len(key) != 32:
            raise InvalidEntity("nbunksec has no remote signer or no client key")
        relays = [_text(value) for value in values.get(_RELAY, [])]
        secret = _text(values[_SECRET][0]) if _SECRET in values else None
        if not 0 < len(relays) <= MAX_RELAYS:
            raise InvalidEntity(f"nbunksec names no relay, or more than {MAX_RELAYS}")
        uri = BunkerURI(remote.hex(), tuple(map(parse_relay_url, relays)), secret or None)
        return uri, SecretKey(key)
    finally:
        wipe(data)


def _text(value: bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidEntity("nbunksec has a text that can't be read") from None
