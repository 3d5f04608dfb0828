"""`bunker key`: make, guard, move and remove sealed keys."""

import click


@click.group()
def key() -> None:
    """Make, guard, move and remove sealed keys."""
