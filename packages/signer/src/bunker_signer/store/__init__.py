"""What the signer remembers: clients, grants, secrets, requests and their answers, the audit log.

In `database/` are the engine and its transactions (`engine.py`), the tables (`schema.py`), what
makes one transaction of what arrives together (`writer.py`) and the request path quick
(`prepared.py`, `cache.py`). Each file here holds the functions of one thing, and all of them take a
connection, so that what belongs together is written in one transaction:

    with database.write() as connection:
        journal.finish(connection, ...)
        audit_log.append(connection, ...)

No key and no content is ever in it in the clear: requests and answers are kept as they went over
the wire, encrypted; secrets as their SHA-256.
"""

from bunker_signer.store.database.engine import Database, StoreError
from bunker_signer.store.database.writer import Writer

__all__ = ["Database", "StoreError", "Writer"]
