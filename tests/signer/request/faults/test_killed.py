"""Killed with -9 at any step and started again, the signer signs once and loses nothing.

The steps are those of the request path, each before and after it happened.
"""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bunker_core.event import parse_event_json, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import BunkerURI, parse_bunker_uri
from bunker_signer.store import Database, audit_log, journal
from signer.request.wire._wire import Answer, Wire, wire
from support import commands

PROGRAM = "signer.request.support.killed:run"
# The template has no created_at: its time is the request's, however late it is signed.
TEMPLATE = json.dumps({"kind": 1, "content": "once"})

# Before these steps are over nothing is written down that would make the signer go on by itself:
# the request is lost as if the power had failed on the way, and the client repeats it.
FORGOTTEN = ["before:decide"]
# From here on the request is in the journal: asked again if nobody had answered yet ...
ASKED_AGAIN = ["after:decide", "before:ask", "after:ask", "before:approve"]
# ... and not asked again once the owner had said yes.
APPROVED = [
    "after:approve",
    "before:open",
    "after:open",
    "before:answer",
    "after:answer",
    "before:publish",
    "after:publish",
    "before:note",
    "after:note",
]
# What a grant allows is one transaction, decision and answer together: nothing of it ...
UNWRITTEN = ["before:decide", "before:open", "after:open"]
# ... or all of it is there.
WRITTEN = ["after:decide", "before:publish", "after:publish", "before:note", "after:note"]
# The key was used, and the process died before the answer was written down: it is used again, for
# the same event, and the first signature never left.
USED_TWICE = ["after:open", "before:answer"]


@asynccontextmanager
async def signer(
    data: Path, relay: str, step: str = "", permission: str = ""
) -> AsyncIterator[tuple[commands.Process, BunkerURI]]:
    """Run the program; yield when it serves."""
    log = data.with_suffix(".log")
    arguments = (str(data), relay, step, permission)
    with (
        log.open("a+") as errors,
        commands.started(arguments, errors, module=PROGRAM) as (process, output),
    ):
        line = await asyncio.to_thread(output.readline)
        assert line, log.read_text()
        yield process, parse_bunker_uri(line)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("step", [*FORGOTTEN, *ASKED_AGAIN, *APPROVED])
async def test_killed_at_any_step(relay_url: str, data: Path, step: str) -> None:
    """The client has exactly one signature in the end, by itself or by repeating its request."""
    key = SecretKey.generate()
    created_at = int(time.time()) - 2
    async with signer(data, relay_url, step) as (process, uri):
        remote = uri.remote_signer_pubkey
        async with wire(relay_url, remote, key) as client:
            assert (await client.ask("connect", "", uri.secret)).json["result"] == "ack"
            await client.send("sign_event", TEMPLATE, rid="x", created_at=created_at)
            assert await asyncio.to_thread(process.wait, 10) == -signal.SIGKILL
            answers = [item for item in client.seen if item.json["id"] == "x"]
    async with wire(relay_url, remote, key) as client, signer(data, relay_url):
        if step in FORGOTTEN:
            await client.send("sign_event", TEMPLATE, rid="x", created_at=created_at + 1)
        if step != "after:note":  # delivered and noted: nothing is left to do
            answers.append(await client.receive())
        # whatever happened, whoever asks again gets the same again
        again = await client.ask("sign_event", TEMPLATE, rid="x", created_at=created_at + 2)
        answers += [again, *(item for item in client.seen if item.json["id"] == "x")]
    signatures = {signature(item) for item in answers}
    assert len(signatures) == 1
    assert lines(data / "signed") == (2 if step in USED_TWICE else 1)
    asked_again = step in ("after:ask", "before:approve") and lines(data / "asked") == 2
    assert asked_again or lines(data / "asked") == 1
    database = Database(data / "signer.sqlite3")
    assert outcomes(database) == ["allowed"]
    database.close()


@pytest.mark.parametrize("step", [*UNWRITTEN, *WRITTEN])
async def test_killed_on_a_granted_request(relay_url: str, data: Path, step: str) -> None:
    """What a grant allows is forgotten as a whole, or kept and answered without being asked for."""
    key = SecretKey.generate()
    created_at = int(time.time()) - 2
    async with (
        signer(data, relay_url, step, "sign_event") as (process, uri),
        wire(relay_url, uri.remote_signer_pubkey, key) as client,
    ):
        remote = uri.remote_signer_pubkey
        await client.ask("connect", "", uri.secret, rid="c")
        await client.send("sign_event", TEMPLATE, rid="x", created_at=created_at)
        assert await asyncio.to_thread(process.wait, 10) == -signal.SIGKILL
        answers = [item for item in client.seen if item.json["id"] == "x"]
    assert not (answers and step in UNWRITTEN)
    database = Database(data / "signer.sqlite3")
    with database.read() as connection:
        assert len(journal.undone(connection)) == (step in WRITTEN)
    async with wire(relay_url, remote, key) as client, signer(data, relay_url):
        if step in WRITTEN:
            answers.append(await client.receive())
        again = await client.ask("sign_event", TEMPLATE, rid="x", created_at=created_at + 2)
        answers += [again, *(item for item in client.seen if item.json["id"] == "x")]
    assert len({signature(item) for item in answers}) == 1
    assert lines(data / "signed") == (2 if step == "after:open" else 1)
    assert outcomes(database) == ["allowed"]
    database.close()


@pytest.mark.parametrize("step", [*UNWRITTEN, *WRITTEN])
async def test_killed_among_many(relay_url: str, data: Path, step: str) -> None:
    """Of requests whose steps share transactions, each has one signature and one audit entry."""
    key, now = SecretKey.generate(), int(time.time())
    names = [f"{number}" for number in range(20)]

    async def send_all(client: Wire, created_at: int) -> None:
        sending = (
            client.send("sign_event", template(name), rid=name, created_at=created_at)
            for name in names
        )
        await asyncio.gather(*sending, return_exceptions=True)

    async with (
        signer(data, relay_url, step, "sign_event") as (process, uri),
        wire(relay_url, uri.remote_signer_pubkey, key) as client,
    ):
        await client.ask("connect", "", uri.secret, rid="c")
        await send_all(client, now - 3)
        assert await asyncio.to_thread(process.wait, 10) == -signal.SIGKILL
        answers = [item for item in client.seen if item.json["id"] != "c"]
    async with wire(relay_url, uri.remote_signer_pubkey, key) as client, signer(data, relay_url):
        await send_all(client, now - 2)
        while {item.json["id"] for item in client.seen} != set(names):
            await client.receive()
        await client.ask("ping", rid="last")
        answers += [item for item in client.seen if item.json["id"] in names]
    events = {verify(parse_event_json(item.json["result"])) for item in answers}
    assert sorted(event.content for event in events) == sorted(names)
    database = Database(data / "signer.sqlite3")
    with database.read() as connection:
        audit_log.check(connection)
        entries = audit_log.entries(connection, audit_log.AuditFilter(action="request"))
        assert sorted(item.event_id for item in entries) == sorted(event.id for event in events)
    database.close()


def template(content: str) -> str:
    return json.dumps({"kind": 1, "content": content, "created_at": 1_700_000_000})


def outcomes(database: Database) -> list[str]:
    """Return what became of each request by the audit log, whose chain is whole."""
    with database.read() as connection:
        audit_log.check(connection)
        wanted = audit_log.AuditFilter(action="request")
        return [item.outcome for item in audit_log.entries(connection, wanted)]


def signature(answer: Answer) -> str:
    """Return the verified signature in an answer."""
    event = verify(parse_event_json(answer.json["result"]))
    assert event.content == "once"
    return event.sig
