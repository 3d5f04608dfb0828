"""A program's command line, for those of us who have one (the extra `cli`).

Nothing in core imports this: only the packages' own command lines do, and they need click anyway.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from bunker_core.errors import BunkerError

_LONGEST: Final = 500  # characters of an error that no command foresaw


class Program(click.Group):
    """A group that can be a whole program: what it says is safe to show, what it writes is private.

    Its errors may repeat a stranger's words, and a terminal obeys what stands in them.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line: what it writes is its owner's alone, and nothing is unprintable."""
        os.umask(0o077)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows `?`
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Whose words an error repeats is not known here: a terminal shows them."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            from bunker_core.describe import plain

            vars(error)["message"] = plain.text(error.message)
            raise
        except BrokenPipeError:
            raise  # who reads has had enough: click ends without a word
        except (BunkerError, OSError) as error:  # what no command foresaw of a disk, or of a home
            from bunker_core.describe import plain

            raise click.ClickException(plain.line(_in_words(error), _LONGEST)) from None
        except UnicodeDecodeError:  # typed in a terminal of another encoding, or read from a file
            raise click.ClickException("what was given is not text in UTF-8") from None


def _in_words(error: BunkerError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(getattr(error, "strerror", None) or error)


class ModuleCommands(Program):
    """Imports a module of commands when one of them is asked for.

    What runs for long, above all, is not to hold in memory what only the other commands need. Each
    of `modules` has its commands in a sequence called `commands`.
    """

    def __init__(self, *args: Any, modules: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._modules = tuple(modules)

    def list_commands(self, ctx: click.Context) -> list[str]:
        for module in self._modules:
            self._load(module)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # The one that is called so comes first, if there is one.
        for module in sorted(self._modules, key=lambda name: name.rpartition(".")[2] != cmd_name):
            if cmd_name in self.commands:
                break
            self._load(module)
        return super().get_command(ctx, cmd_name)

    def _load(self, module: str) -> None:
        for command in import_module(module).commands:
            self.add_command(command)
