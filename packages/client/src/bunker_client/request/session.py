"""A pairing that outlives the process: what a client has to know in order to come back."""

from dataclasses import dataclass

from bunker_core.errors import InvalidInput
from bunker_core.event import is_hex
from bunker_core.keys import SecretKey


@dataclass(frozen=True, slots=True)
class Session:
    """One client's connection to one remote signer. Whoever has `client_key` is that client."""

    client_key: SecretKey
    remote_signer_pubkey: str
    user_pubkey: str
    relays: tuple[str, ...]

    def __post_init__(self) -> None:
        if not is_hex(self.remote_signer_pubkey, 64) or not is_hex(self.user_pubkey, 64):
            raise InvalidInput("a session's pubkeys are 64 lower-case hex characters")
        if not self.relays:
            raise InvalidInput("a session has at least one relay")
