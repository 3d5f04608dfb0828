"""`bunker relay`: the command line of the relay."""

import click

from bunker_core.local.commands import ModuleCommands


@click.group(
    cls=ModuleCommands,
    modules=[f"{__name__}.{module}" for module in ("serve", "moderate", "data")],  # `run`: serve
)
def relay() -> None:
    """Run your own Nostr relay, made for remote signing."""
