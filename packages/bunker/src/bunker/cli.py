"""The one command `bunker`: its subcommands are the entry points of `bunker.commands`."""

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Final

import click

GROUP: Final = "bunker.commands"
# What a command with the extra `all` needs.
_PACKAGES: Final = ("bunker_relay", "bunker_signer", "bunker_client")
# How the help lists them; what is not named here comes last.
_SECTIONS: Final = {
    "Start here": ("demo", "up"),
    "Use a signer, as an app does": (
        *("pair", "whoami", "sign", "publish", "encrypt", "decrypt", "sessions", "doctor", "nip07"),
    ),
    "Look after your own": ("status", "backup", "restore", "recovery"),
    "The parts": ("relay", "signer", "phone", "key", "init", "testbed", "conformance"),
}
_OTHERS: Final = "More"
_WHOLE: Final = 1_000  # characters: no sentence is longer


class InstalledCommands(click.Group):
    """A group whose commands are looked up when they are asked for, so that each starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return sorted(entry.name for entry in entry_points(group=GROUP) if _installed(entry))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        found = list(entry_points(group=GROUP, name=cmd_name))
        if not found:
            return None
        try:
            command = found[0].load()
        except ModuleNotFoundError as missing:
            raise click.ClickException(
                f"`bunker {cmd_name}` needs {missing.name}, which is not installed; "
                "pip install 'nostr-bunker[all]' has everything"
            ) from None
        if not isinstance(command, click.Command):
            raise TypeError(f"entry point {cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what they are for, each with its first sentence, uncut."""
        left = self.list_commands(ctx)
        named = {name for names in _SECTIONS.values() for name in names}
        others = tuple(name for name in left if name not in named)
        for title, names in {**_SECTIONS, _OTHERS: others}.items():
            rows = []
            for name in names:
                if name in left and (command := self.get_command(ctx, name)) is not None:
                    rows.append((name, command.get_short_help_str(_WHOLE)))
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.command(cls=InstalledCommands)
@click.version_option(package_name="nostr-bunker")
def main() -> None:
    """Remote signing for Nostr that you run for yourself."""


def _installed(entry: EntryPoint) -> bool:
    """Tell whether the command can run: one that needs several packages is not shown for one."""
    return not entry.extras or all(map(find_spec, _PACKAGES))
