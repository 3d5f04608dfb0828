"""`bunker relay`: the command line of the relay."""

import click

from bunker_relay.cli import data, moderate, serve


@click.group()
def relay() -> None:
    """Run your own Nostr relay, made for remote signing."""


for command in (
    *(serve.run, serve.config, serve.check),
    *(moderate.ban, moderate.unban, moderate.allow, moderate.disallow),
    *(moderate.show_lists, moderate.delete),
    *(data.export_command, data.import_command, data.vacuum, data.salvage),
):
    relay.add_command(command)
