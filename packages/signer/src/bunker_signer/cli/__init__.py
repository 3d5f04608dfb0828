"""`bunker signer`: run the signer, pair clients with it, decide, lock, look back."""

from typing import Final

import click

from bunker_core.local.commands import ModuleCommands

_MODULES: Final = ("run", "pair", "clients", "approvals", "keys", "audit", "console", "devices")


@click.group(cls=ModuleCommands, modules=[f"{__name__}.{module}" for module in _MODULES])
def signer() -> None:
    """Hold the key and sign for paired clients (NIP-46)."""
