"""Everything off at once: for the moment when an app, or a device, is not trusted any more."""

from collections.abc import Iterable

from bunker_signer.key.identity import KeyState
from bunker_signer.process.plural import counted
from bunker_signer.store import Database, audit_log, clients, settings


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
        secrets = clients.remove_secrets(connection)
        outcome = f"{counted(len(known), 'session')} and {counted(secrets, 'unused URI')} revoked"
        for name in names:
            settings.set_key_state(connection, name, KeyState.LOCKED.value)
            audit_log.append(connection, now, "panic", name, outcome=outcome, decided_by=by)
    return {"sessions": len(known), "secrets": secrets}
