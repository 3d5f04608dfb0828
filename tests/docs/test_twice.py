"""Each example works the second time too, by the same URI: it is the same client as before.

Every one is a process of its own, run twice in a row, against one relay and one signer; at the end
the signer has one client for each, so that none was left behind.
"""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bunker.harness import running_relay, running_signer
from bunker_core.event import EventTemplate, parse_event_json, sign_event, verify
from bunker_core.filter import Filter
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import parse_permissions
from bunker_core.pool import RelayPool
from bunker_signer.control.protocol import send
from bunker_signer.policy import grants_of
from support import commands
from support.strategies import secret_key
from support.up import started

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "client"
GRANTS = "sign_event:1,nip44_encrypt,nip44_decrypt"
PATIENCE = 60.0  # seconds for what takes one or two

# Runs pieces of Python one after the other, with `await` at the top as in a notebook, and prints
# the event that they leave.
CELLS = """
import ast, asyncio, json, sys

async def main():
    names = {"friend_pubkey": sys.argv[1]}
    for cell in json.load(sys.stdin):
        code = compile(cell, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if (running := eval(code, names)) is not None:
            await running
    print(names["event"].to_json().decode())

asyncio.run(main())
"""


class Reader:
    """The person who tries the examples, with a home and a URI of their own."""

    def __init__(self, uri: str, user: str, relay: str, home: Path) -> None:
        self.uri, self.user, self.relay = uri, user, relay
        self.mentions = 0
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BUNKER")},
            "HOME": str(home),
            "BUNKER_SESSIONS": str(home / "sessions"),
            "BUNKER_URI": uri,
            "BOT_RELAY": relay,
            "PYTHONPATH": str(EXAMPLES),
        }

    @asynccontextmanager
    async def starts(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run Python with these arguments, and stop it at the end."""
        async with started(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            environment=self.environment,
        ) as process:
            yield process

    async def prints(self, *arguments: str, stdin: str = "") -> str:
        """Run Python to its end; return the last line that it prints."""
        async with self.starts(*arguments) as process:
            out, err = await process.communicate(stdin.encode())
            assert process.returncode == 0, err.decode()
        return out.decode().splitlines()[-1]


async def readme(reader: Reader) -> str:
    """Run README's first example in Python."""
    blocks: list[str] = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert '"bunker://..."' in blocks[0]
    cells = json.dumps([blocks[0].replace("bunker://...", reader.uri)])
    return await reader.prints("-c", CELLS, secret_key(7).pubkey, stdin=cells)


async def script(reader: Reader) -> str:
    """Run the script."""
    return await reader.prints(str(EXAMPLES / "script.py"))


async def notebook(reader: Reader) -> str:
    """Run the notebook's cells in their order."""
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return await reader.prints("-c", CELLS, secret_key(7).pubkey, stdin=json.dumps(code))


async def command(reader: Reader) -> str:
    """Run `BUNKER_URI=... bunker sign`."""
    done = await asyncio.to_thread(commands.run, ["sign"], b"hello", reader.environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


async def web_app(reader: Reader) -> str:
    """Serve the web app and post a note to it."""
    async with reader.starts("-m", "uvicorn", "--port", "0", "web_app:app") as process:
        assert process.stderr
        address = None
        while address is None:
            line = (await process.stderr.readline()).decode()
            assert line, "the web app ended"
            address = re.search(r"http://127\.0\.0\.1:\d+", line)
        async with httpx.AsyncClient() as web:
            answer = await web.post(f"{address[0]}/notes", content="hello")
        assert answer.status_code == 200, answer.text
        return answer.text


async def bot(reader: Reader) -> str:
    """Mention the bot's user and read its answer."""
    async with RelayPool([reader.relay]) as pool, reader.starts(str(EXAMPLES / "bot.py")):
        # Stored, and dated a moment later: the bot finds it whenever its subscription begins.
        reader.mentions += 1  # another one for the second run
        at = int(time.time()) + 300 + reader.mentions
        mention = sign_event(EventTemplate(1, "hi", (("p", reader.user),), at), secret_key(9))
        wanted = Filter(kinds=frozenset({1}), tags=(("e", frozenset({mention.id})),))
        answers = pool.subscribe(wanted)
        await answers.live(PATIENCE)
        pool.publish(mention)
        return (await anext(answers)).event.to_json().decode()


RUNS: dict[str, Callable[[Reader], Awaitable[str]]] = {
    "README's first example": readme,
    "the script": script,
    "the web app": web_app,
    "the notebook": notebook,
    "the bot": bot,
    "BUNKER_URI=... bunker sign": command,
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run every example twice, all examples at the same time; return how each went."""
    return asyncio.run(_play(tmp_path_factory.mktemp("twice")))


async def _play(directory: Path) -> dict[str, Any]:
    data = directory / "signer"
    async with (
        running_relay(directory / "relay") as relay,
        running_signer(data, [relay.url]) as running,
    ):
        grants = [grant.to_json() for grant in grants_of(parse_permissions(GRANTS))]

        async def twice(name: str) -> list[Any]:
            uri = await asyncio.to_thread(send, data, "invite", key="default", grants=grants)
            home = directory / re.sub(r"\W", "", name)
            home.mkdir()
            reader = Reader(uri, parse_pubkey(running.npub), relay.url, home)
            async with asyncio.timeout(PATIENCE):
                return [verify(parse_event_json(await RUNS[name](reader))) for _ in range(2)]

        events = await asyncio.gather(*map(twice, RUNS), return_exceptions=True)
        listed = await asyncio.to_thread(
            commands.run, ["signer", "clients", "--json", "--data", str(data)]
        )
        assert listed.returncode == 0, listed.stderr
        return {
            **dict(zip(RUNS, events, strict=True)),
            "clients": [json.loads(line) for line in listed.stdout.decode().splitlines()],
            "user": parse_pubkey(running.npub),
        }


@pytest.mark.parametrize("name", RUNS)
def test_an_example_works_twice(name: str, told: dict[str, Any]) -> None:
    """The same URI, two runs, two events of its user."""
    events = told[name]
    if isinstance(events, BaseException):
        raise events
    assert [event.pubkey for event in events] == [told["user"]] * 2


def test_the_second_run_is_the_same_client(told: dict[str, Any]) -> None:
    """Twelve runs, six clients: none is left behind."""
    assert len(told["clients"]) == len(RUNS)
