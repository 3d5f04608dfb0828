"""A whole signer on PostgreSQL: what the store promises there holds for requests too."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bunker_core.event import parse_event_json, verify
from bunker_core.keys import SecretKey
from bunker_signer.policy import Grant
from bunker_signer.store import audit_log
from signer.request.support.rig import ONCE, Owner, rig

if TYPE_CHECKING:
    from support.postgres import PostgresServer

NOTE = json.dumps({"kind": 1, "content": "hello", "created_at": 1_700_000_000})


async def test_a_signer_on_postgresql(
    relay_url: str, data: Path, postgres: "PostgresServer"
) -> None:
    """Limits hold when all comes at once; an answer, the owner's yes and the log outlive a run."""
    database = postgres.fresh_url().replace("postgresql:", "postgresql+psycopg:")
    key, owner, now = SecretKey.generate(), Owner([ONCE]), int(time.time())
    granted = [Grant("sign_event", "1", uses_left=2)]
    async with (
        rig(relay_url, data, approver=owner, database=database) as signer,
        signer.client(key=key, granted=granted) as client,
    ):
        for number in range(2):
            await client.send("sign_event", NOTE, rid=f"{number}")
        answers = [await client.receive() for _ in range(2)]
        assert not any(item.error for item in answers)
        first = await client.ask("sign_event", NOTE, rid="x", created_at=now - 2)
        assert verify(parse_event_json(first.json["result"])).pubkey == signer.user
        assert len(owner.asked) == 1
    async with (
        rig(relay_url, data, approver=owner, database=database) as signer,
        signer.client(key=key, pair=False) as client,
    ):
        again = await client.ask("sign_event", NOTE, rid="x", created_at=now - 1)
        assert again.json == first.json
        await client.send("sign_event", NOTE, rid="waits")
        _, answer = await owner.question()
        answer.set_result(ONCE)
        assert not (await client.receive()).error
        assert len(signer.audit("request")) == 4
        with signer.database.read() as at:
            assert audit_log.check(at)[0] == 5
    assert not (data / "signer.sqlite3").exists()
