"""`bunker signer`: run the signer, pair clients with it, decide, lock, look back."""

from importlib import import_module
from typing import Final

import click

_MODULES: Final = ("run", "pair", "clients", "approvals", "keys", "audit", "console", "devices")


class _Commands(click.Group):
    """Imports a module of commands when one of them is asked for.

    The signer itself, above all, is not to hold in memory what only its other commands need.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        for module in _MODULES:
            self._load(module)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module in sorted(_MODULES, key=cmd_name.__ne__):  # `run` is in the module `run`
            if cmd_name in self.commands:
                break
            self._load(module)
        return super().get_command(ctx, cmd_name)

    def _load(self, module: str) -> None:
        for command in import_module(f"{__name__}.{module}").commands:
            self.add_command(command)


@click.group(cls=_Commands)
def signer() -> None:
    """Hold the key and sign for paired clients (NIP-46)."""
