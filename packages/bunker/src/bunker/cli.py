"""The one command `bunker`: its subcommands are the entry points of `bunker.commands`."""

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

from bunker_core.local.commands import Program

GROUP: Final = "bunker.commands"
# How the help lists them, each with the sentence that it has itself: nothing is imported to show
# them. What is not named here comes last.
_SECTIONS: Final = {
    "Start here": {
        "demo": "Show one remote signature from end to end; leaves nothing behind.",
        "up": "Run relay and signer until Ctrl-C, and show what pairs an app.",
    },
    "Use a signer, as an app does": {
        "pair": "Pair with a signer and keep the session for the other commands.",
        "whoami": "Print the public key that the signer signs with.",
        "sign": "Read an event from standard input and print it signed, as JSON.",
        "publish": "Sign what is on standard input (see `bunker sign`) and send it to relays.",
        "encrypt": "Encrypt standard input to someone (NIP-44) and print the payload.",
        "decrypt": "Decrypt a payload on standard input (NIP-44) and print the text.",
        "sessions": "List the pairings that are kept; `bunker sessions forget NAME` ends one.",
        "doctor": "Check relays, signer and pairing, and say what is wrong and how to mend it.",
        "nip07": "Be `window.nostr` in the browser (NIP-07): sites ask, you decide, the key stays "
        "outside.",
    },
    "Look after your own": {
        "status": "Show what runs, for whom, and how old the backup is.",
        "panic": "Lock all keys, forget all apps and devices, at once.",
        "backup": "Write sealed keys, grants, audit log and the relay's events to FILE, also while "
        "they run.",
        "restore": "Put the backup in FILE into an empty place.",
        "recovery": "Write a recovery copy of the key to FILE, encrypted under a passphrase "
        "(NIP-49).",
    },
    "The parts": {
        "relay": "Run your own Nostr relay, made for remote signing.",
        "signer": "Hold the key and sign for paired clients (NIP-46).",
        "phone": "The signer that runs in a phone's browser; `bunker up --phone` starts all it "
        "needs.",
        "key": "Make, guard, move and remove sealed keys.",
        "init": "Make the key without starting anything, for services that are set up by hand.",
        "testbed": "Run a relay and a signer for tests, with faults on demand over HTTP.",
        "conformance": "Judge any relay, signer or client of remote signing by the same cases.",
    },
}
_OTHERS: Final = "More"
_WHOLE: Final = 1_000  # characters: no sentence is longer


class InstalledCommands(Program):
    """A group whose commands are looked up when they are asked for, so that each starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return sorted(entry.name for entry in entry_points(group=GROUP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        found = list(entry_points(group=GROUP, name=cmd_name))
        if not found:
            return None
        try:
            command = found[0].load()
        except ModuleNotFoundError as missing:
            raise click.ClickException(
                f"`bunker {cmd_name}` needs {missing.name}, which is not installed; "
                f"{_how_to_install(found[0])}"
            ) from None
        if not isinstance(command, click.Command):
            raise TypeError(f"entry point {cmd_name} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name what may have been meant where there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            meant = self._meant(ctx, args[0])
            if not meant:
                raise
            names = " or ".join(f"`{name}`" for name in meant)
            raise click.UsageError(f"{error.message} Did you mean {names}?", ctx) from None

    def _meant(self, ctx: click.Context, name: str) -> list[str]:
        """Return commands that are spelt like `name`, or are called so within a group."""
        close = get_close_matches(name, self.list_commands(ctx), 2)
        inside = [
            f"{group} {name}"
            for group in _SECTIONS["The parts"]
            if isinstance(command := self.get_command(ctx, group), click.Group)
            and name in command.list_commands(ctx)
        ]
        return [f"bunker {found}" for found in (*close, *inside)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what they are for, each with its first sentence, uncut."""
        left = set(self.list_commands(ctx))
        for title, sentences in _SECTIONS.items():
            rows = [(name, text) for name, text in sentences.items() if name in left]
            left.difference_update(sentences)
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        if left:
            with formatter.section(_OTHERS):
                formatter.write_dl([(name, self._sentence(ctx, name)) for name in sorted(left)])

    def _sentence(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str(_WHOLE)


@click.command(cls=InstalledCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nostr-bunker")
def main() -> None:
    """Remote signing for Nostr that you run for yourself."""


def _how_to_install(entry: EntryPoint) -> str:
    """Return what brings that which a command needs to run."""
    from bunker_core.local.extras import how_to_install

    name = entry.dist.name if entry.dist else "nostr-bunker"
    if not entry.extras:
        return f"install {name} anew (docs/how-to/install.md)"
    return how_to_install(name, entry.extras[0])
