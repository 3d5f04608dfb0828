"""Everything off at once: for the moment when an app, or a device, is not trusted any more."""

from collections.abc import Iterable
from pathlib import Path

from bunker_core.errors import BunkerError
from bunker_signer.key.access import KeyState
from bunker_signer.process.logs import get_logger
from bunker_signer.process.plural import counted
from bunker_signer.store import Database, audit_log, clients, settings
from bunker_signer.store.accounts import FILE_NAME, Accounts

log = get_logger(__name__)


def revoke_everything(
    database: Database, key_names: Iterable[str], by: str, now: int
) -> dict[str, int]:
    """Forget every client, grant, open request and unused secret, and leave all keys locked.

    One transaction; a signer that starts later finds its keys locked. Returns the counts.
    """
    names = list(key_names)
    with database.write() as connection:
        known = clients.every(connection)
        for client in known:
            clients.remove(connection, client.key_name, client.pubkey)
            # With its name: a look back is to be understood when nothing else is left.
            audit_log.append(
                connection,
                now,
                "revoke",
                client.key_name,
                client_pubkey=client.pubkey,
                param=client.metadata.name,
                outcome="panic",
                decided_by=by,
            )
        secrets = clients.remove_secrets(connection)
        outcome = f"{counted(len(known), 'session')} and {counted(secrets, 'unused URI')} revoked"
        for name in names:
            settings.set_key_state(connection, name, KeyState.LOCKED.value)
            audit_log.append(connection, now, "panic", name, outcome=outcome, decided_by=by)
        settings.set_panicked(connection, panicked=True)
    return {"sessions": len(known), "secrets": secrets}


def empty_console(data: Path) -> dict[str, int]:
    """Lock every device out of the console in `data`, with its links, passkeys and choices.

    A thief who had an unlocked phone may have bound others and made passkeys. Returns the counts.
    """
    if not (data / FILE_NAME).exists():
        return {"devices": 0, "passkeys": 0}
    try:
        accounts = Accounts(data / FILE_NAME)
        try:
            devices, passkeys = accounts.empty()
        finally:
            accounts.close()
    except BunkerError as error:
        # All else is done already; after a panic no console unlocks a key in any case.
        log.error("the console's devices could not be forgotten", error=str(error))
        return {"devices": 0, "passkeys": 0}
    return {"devices": devices, "passkeys": passkeys}
