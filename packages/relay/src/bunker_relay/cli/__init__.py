"""`bunker relay`: the command line of the relay."""

from importlib import import_module
from typing import Final

import click

_MODULES: Final = ("serve", "moderate", "data")


class _Commands(click.Group):
    """Imports a module of commands when one of them is asked for.

    The relay itself, above all, is not to hold in memory what only its other commands need.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        for module in _MODULES:
            self._load(module)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module in _MODULES:  # `run` is in the first
            if cmd_name in self.commands:
                break
            self._load(module)
        return super().get_command(ctx, cmd_name)

    def _load(self, module: str) -> None:
        for command in import_module(f"{__name__}.{module}").commands:
            self.add_command(command)


@click.group(cls=_Commands)
def relay() -> None:
    """Run your own Nostr relay, made for remote signing."""
