"""The methods of NIP-46 that need no user key: connect, ping, switch_relays, logout and so on."""

from collections.abc import Callable

from sqlalchemy import Connection

from bunker_core.nips.nip46 import ASK_STATE, Method, Request, parse_metadata
from bunker_signer.key.access import KeyState
from bunker_signer.key.identity import Identity
from bunker_signer.process.logs import get_logger
from bunker_signer.request.operation import Refused
from bunker_signer.store import Database, audit_log, clients
from bunker_signer.store.clients import Client

log = get_logger(__name__)

_MAX_REQUESTED = 4096  # characters of a permission proposal that are kept


class KeylessMethods:
    """Answers them. `relays` are those that the signer runs on."""

    def __init__(self, database: Database, relays: Callable[[], tuple[str, ...]]) -> None:
        self._database = database
        self._relays = relays

    def connect(self, identity: Identity, request: Request, pubkey: str, now: int) -> str:
        """Admit a client by a secret. NIP-46: params are remote signer, secret, perms, metadata.

        The first is not looked at: libraries send the user's key, ours, or nothing. The permissions
        that it asks for are a proposal; the grants come from the owner. Raises Refused.
        """
        with self._database.write() as connection:
            good = self._redeem(connection, identity, request, pubkey, now)
        if not good:
            raise Refused("denied: the secret is wrong, used or too old; ask for a new bunker URI")
        log.info("client paired", key=identity.name, client=pubkey)
        return "ack"

    def result(self, identity: Identity, method: Method, client: Client, request: Request) -> str:
        """Return the result of the other methods that need no key."""
        match method:
            case Method.PING:
                asked = request.param(0) == ASK_STATE
                unlocked = identity.state is KeyState.UNLOCKED
                return str(identity.state.value) if asked and not unlocked else "pong"
            case Method.GET_PUBLIC_KEY:
                return identity.user_pubkey
            case Method.SWITCH_RELAYS:
                return self._switch(client)
            case _:
                return "ack"  # logout

    def note(
        self,
        connection: Connection,
        identity: Identity,
        method: Method,
        client: Client,
        request: Request,
        now: int,
    ) -> None:
        """Write down what a client's request means that needs no key, before it is answered.

        A client that was told that it is logged out is logged out. One that connects again is
        admitted by its key, whatever secret it repeats; an unused secret adds its grants, and
        is used up, or it would pair a second app with them.
        """
        match method:
            case Method.CONNECT if self._redeem(connection, identity, request, client.pubkey, now):
                log.info("client paired again", key=identity.name, client=client.pubkey)
            case Method.LOGOUT:
                if clients.remove(connection, identity.name, client.pubkey):
                    audit_log.append(
                        connection,
                        now,
                        "logout",
                        identity.name,
                        client_pubkey=client.pubkey,
                        param=client.metadata.name,
                    )
                return
            case Method.SWITCH_RELAYS if self.must_switch(client):
                clients.set_relays(connection, identity.name, client.pubkey, self._relays())
        clients.see(connection, client, now)

    def must_switch(self, client: Client) -> bool:
        """Tell whether a client talks elsewhere than on the relays that we run on."""
        return bool(client.relays) and set(client.relays) != set(self._relays())

    def _switch(self, client: Client) -> str:
        """Return the relays if they are not where the client talks already.

        Else the text, not JSON's null: nostr-tools hangs on the latter.
        """
        if not self.must_switch(client):
            return "null"
        return "[" + ",".join(f'"{relay}"' for relay in self._relays()) + "]"

    def _redeem(
        self, connection: Connection, identity: Identity, request: Request, pubkey: str, now: int
    ) -> bool:
        """Use up the secret of a `connect`; return whether it was good."""
        secret = request.param(1)
        if not secret:
            return False
        metadata = parse_metadata(request.param(3))
        requested = request.param(2)[:_MAX_REQUESTED]
        good = clients.pair(connection, identity.name, pubkey, secret, metadata, requested, now)
        if good:
            audit_log.append(
                connection,
                now,
                "pair",
                identity.name,
                client_pubkey=pubkey,
                param=metadata.name,
                outcome="allowed",
                decided_by="secret",
            )
        return good
