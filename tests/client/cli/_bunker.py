"""`bunker` as a process of its own, and what it says when it fails."""

import asyncio
import json
import os

from bunker_core.nips.bunker_uri import BunkerURI
from support import commands
from support.strategies import secret_key

NOTE = '{"kind": 1, "content": "hello"}'


async def bunker(
    *arguments: str, stdin: str = "", environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run `bunker` and return its exit code, standard output and standard error."""
    done = await asyncio.to_thread(
        commands.run, arguments, stdin.encode(), {**os.environ, **(environment or {})}
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def fails(*arguments: str, stdin: str = "") -> str:
    """Run `bunker`, which has to fail with one line on standard error; return that line."""
    code, out, err = await bunker(*arguments, stdin=stdin)
    assert code != 0
    assert out == ""
    assert err.count("\n") == 1, err
    return err


async def failing(*arguments: str, stdin: str = NOTE) -> tuple[int, str]:
    """Return the exit code and the `type` of the error, which --json has on one line."""
    code, out, err = await bunker(*arguments, "--json", stdin=stdin)
    assert out == ""
    told = json.loads(err)
    assert told["exit_code"] == code
    assert told["error"]
    return code, told["type"]


def uri(*relays: str, secret: str = "0123456789abcdef") -> str:
    return str(BunkerURI(secret_key(8).pubkey, relays, secret))
