"""Notifications, to a real HTTP server and a real command; none of them carries a content."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from bunker_core.event import EventTemplate
from bunker_core.nips.nip46 import Method
from bunker_signer.approvers.notify import HookError, Notice, Notifier, parse_hook
from bunker_signer.policy import Action
from bunker_signer.request.approval import Item, Question

NOTICE = Notice("Title", "Text", 1_800_000_000, "https://x.example/1", "abc")


@dataclass
class Server:
    """Takes what is posted."""

    url: str
    posted: "Queue[tuple[str, Any]]" = field(default_factory=Queue)
    status: int = 200


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            held.posted.put((self.path, json.loads(body)))
            self.send_response(held.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    listener = HTTPServer(("127.0.0.1", 0), Handler)
    held = Server(f"http://127.0.0.1:{listener.server_port}")
    thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield held
    listener.shutdown()
    thread.join()
    listener.server_close()


async def test_ntfy(server: Server) -> None:
    """The topic goes where ntfy's documentation has it."""
    await parse_hook(f"ntfy:{server.url}/my-topic").send(NOTICE)
    path, body = server.posted.get(timeout=5)
    assert path == "/"
    assert body == {
        "topic": "my-topic",
        "title": "Title",
        "message": "Text",
        "click": "https://x.example/1",
    }


async def test_webhook(server: Server) -> None:
    """The notice is posted as it is, deadline and link included."""
    await parse_hook(f"webhook:{server.url}/hook?x=1").send(NOTICE)
    path, body = server.posted.get(timeout=5)
    assert path == "/hook?x=1"
    assert body == {
        "title": "Title",
        "text": "Text",
        "deadline": 1_800_000_000,
        "link": "https://x.example/1",
        "request": "abc",
    }


async def test_command(tmp_path: Path) -> None:
    """A program gets the notice on its standard input; no shell reads any of it."""
    program = tmp_path / "tell"
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/told\n")
    program.chmod(0o700)
    await parse_hook(f"command:{program}").send(NOTICE)
    assert json.loads((tmp_path / "told").read_text())["text"] == "Text"
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(OSError, match="3"):
        await parse_hook(f"command:{program}").send(NOTICE)
    with pytest.raises(FileNotFoundError):
        await parse_hook(f"command:{tmp_path}/nowhere").send(NOTICE)


@pytest.mark.parametrize(
    "text",
    ["", "ntfy", "ntfy:", "ntfy:https://ntfy.sh", "webhook:file:///etc/passwd", "command:", "x:y"],
)
def test_bad_hooks(text: str) -> None:
    """What can't be used is refused before the signer starts."""
    with pytest.raises(HookError, match="--notify"):
        parse_hook(text)


async def test_a_question_is_passed_on(server: Server) -> None:
    """The owner learns who wants what, until when, and where to answer; never the content."""
    notifier = Notifier(
        [parse_hook(f"webhook:{server.url}/")], "https://me.example/{id}", lambda: 100.0
    )
    template = EventTemplate(1, "a private content", (), 0)
    item = Item(Action(Method.SIGN_EVENT, kind=1), "d", template)
    asking = asyncio.create_task(
        notifier.ask(Question("f00d", "default", "ab" * 32, "App", (item,), 100.0, 190.0))
    )
    _, body = await asyncio.to_thread(server.posted.get, timeout=5)
    assert body["link"] == "https://me.example/f00d"
    assert body["deadline"] == 190
    assert "90 s" in body["text"]
    assert "bunker signer approve f00d" in body["text"]
    assert "“App”" in body["text"]
    assert "private" not in json.dumps(body)
    assert not asking.done()  # a notification never answers
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await notifier.close()


async def test_a_failing_hook_disturbs_nobody(server: Server) -> None:
    """One server that is down, or says no, keeps nobody else from being told."""
    server.status = 500
    hooks = ["webhook:http://127.0.0.1:9/", f"webhook:{server.url}/bad", f"ntfy:{server.url}/t"]
    notifier = Notifier([parse_hook(text) for text in hooks])
    notifier.tell(NOTICE)
    await notifier.close()
    assert server.posted.qsize() == 2
