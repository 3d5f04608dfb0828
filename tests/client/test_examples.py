"""examples/client and docs/client.md: every example runs, and the page shows what is there."""

import ast
import asyncio
import json
import runpy
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bunker_client.cli import common
from bunker_core.event import EventTemplate, parse_event, parse_event_json, sign_event, verify
from bunker_core.filter import Filter
from bunker_core.pool import RelayPool
from support.scripted import ScriptedSigner, scripted_relay, scripted_signer
from support.strategies import secret_key

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "client"
PAGE = (ROOT / "docs" / "client.md").read_text()


@asynccontextmanager
async def signer_in_environment(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedSigner]:
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        monkeypatch.setenv("BUNKER_URI", signer.uri)
        yield signer


async def test_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script prints a signed note."""
    async with signer_in_environment(monkeypatch) as signer:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(EXAMPLES / "script.py"), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
        event = verify(parse_event_json(out))
        assert (event.pubkey, event.content) == (signer.user.pubkey, "Signed from a script")


async def test_web_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """POST /notes answers with the signed note, and with the reason when the signer says no."""
    async with signer_in_environment(monkeypatch) as signer:
        app = runpy.run_path(str(EXAMPLES / "web_app.py"))["app"]
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as web,
        ):
            answer = await web.post("/notes", content="Grüße")
            event = verify(parse_event(answer.json()))
            assert (event.pubkey, event.content) == (signer.user.pubkey, "Grüße")
            signer.answer = lambda asked: [{"id": asked.id, "error": "denied: no"}]
            answer = await web.post("/notes", content="x")
            assert answer.status_code == 503
            assert "denied: no" in answer.json()["error"]


async def test_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot answers a mention with a note that names it."""
    async with (
        signer_in_environment(monkeypatch) as signer,
        scripted_relay() as notes,
        RelayPool([notes.url]) as pool,
    ):
        monkeypatch.setenv("BOT_RELAY", notes.url)
        answers = pool.subscribe(Filter(authors=frozenset({signer.user.pubkey})))
        await answers.live(10)
        main = runpy.run_path(str(EXAMPLES / "bot.py"))["main"]
        bot = asyncio.create_task(main())
        await notes.wait_for("REQ", 2)
        later = 2**40  # the bot looks at what is new, by its own clock
        template = EventTemplate(1, "hi", (("p", signer.user.pubkey),), later)
        mention = sign_event(template, secret_key(9))
        await notes.forward(mention)
        async with asyncio.timeout(10):
            answer = (await anext(answers)).event
        assert answer.tags == (("e", mention.id), ("p", mention.pubkey))
        bot.cancel()
        await asyncio.gather(bot, return_exceptions=True)


async def test_notebook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every cell runs, in order, with `await` at the top as Jupyter allows it."""
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    names: dict[str, Any] = {}
    async with signer_in_environment(monkeypatch) as signer:
        for cell in notebook["cells"]:
            if cell["cell_type"] != "code":
                continue
            code = compile("".join(cell["source"]), "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if (running := eval(code, names)) is not None:
                await running
        assert names["event"].pubkey == signer.user.pubkey
        assert names["texts"] == [f"message {number}" for number in range(5)]
    assert "█████" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["script.py", "web_app.py", "bot.py"])
def test_the_page_shows_the_example_as_it_is(name: str) -> None:
    """What is read on the page is what is run here."""
    assert (EXAMPLES / name).read_text().strip() in PAGE


def test_the_page_and_the_help_have_every_exit_code() -> None:
    """Codes 1 to 12 stand in the page's table and in the module that defines them."""
    assert common.__doc__
    for error, code in (
        ("RelayUnreachable", 3),
        ("SignerOffline", 4),
        ("SignerLocked", 8),
        ("ClockOff", 11),
    ):
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{error}`"))
        assert row.endswith(f"| {code} |")
    for code in range(3, 13):
        assert f"{code}  " in common.__doc__


def test_the_page_names_every_command() -> None:
    """Each command of the client is in the page's table."""
    pyproject = (ROOT / "packages" / "client" / "pyproject.toml").read_text()
    names = [
        line.partition(" =")[0] for line in pyproject.splitlines() if '"bunker_client.cli' in line
    ]
    assert len(names) == 9
    for name in names:
        assert f"`bunker {name}" in PAGE
