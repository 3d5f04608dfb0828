"""`bunker signer`: run the signer, pair clients with it, decide, lock, look back."""

import click

from bunker_signer.cli import approvals, audit, clients, console, devices, keys, pair, run


@click.group()
def signer() -> None:
    """Hold the key and sign for paired clients (NIP-46)."""


for _module in (run, pair, clients, approvals, keys, audit, console, devices):
    for _command in _module.commands:
        signer.add_command(_command)
