"""Who may do what after a restore: apps, devices, passkeys, the relay's lists, as a backup says."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from bunker_core.describe import plain

_CLIENTS: Final = """
    SELECT c.name, c.pubkey, c.key_name,
      (SELECT count(*) FROM grants g WHERE g.client_pubkey = c.pubkey AND g.key_name = c.key_name)
    FROM clients c ORDER BY c.paired_at
"""


def rights(folder: Path) -> Iterator[str]:
    """Yield a line for each app, device and passkey in the databases of `folder`."""
    for name, pubkey, key, grants in _rows(folder / "signer.sqlite3", _CLIENTS):
        rules = "1 rule" if grants == 1 else f"{grants} rules"
        shown = plain.line(str(name)) or "(no name)"
        yield f"app      {shown}  {str(pubkey)[:8]}…{str(pubkey)[-8:]}  key {key}, {rules}"
    for what, table in (("device", "devices"), ("passkey", "passkeys")):
        for (name,) in _rows(folder / "console.sqlite3", f"SELECT name FROM {table}"):  # noqa: S608
            yield f"{what:<8} {plain.line(str(name)) or '(no name)'}"


def relay_rights(file: Path) -> Iterator[str]:
    """Yield a line for each entry of the relay's lists, in a backup's `file`."""
    try:
        lists = json.loads(file.read_bytes())
        for name, values in lists.items():
            word = plain.line(str(name)).replace("_", " ")
            yield from (f"relay    {word}: {plain.line(str(value))}" for value in values)
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError, TypeError):
        yield "relay    lists.json can't be read"


def _rows(path: Path, query: str) -> list[tuple[object, ...]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        try:
            return list(database.execute(query))
        except sqlite3.OperationalError:  # a table of another version
            return []
