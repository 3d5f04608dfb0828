"""push.py: the calls of signers that want to be woken."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from bunker_relay.http.push import Push
from bunker_relay.metrics import Counters


async def test_calls_have_a_rate_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes them, before anything of them is looked at; what is over it is counted."""
    monkeypatch.setattr("bunker_relay.http.push._RATE", (0.0, 2.0))
    admission = SimpleNamespace(urls_for=lambda _: frozenset[str]())
    relay: Any = SimpleNamespace(counters=Counters(), waker=object(), admission=admission)
    push = Push(relay)

    async def nothing() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/push", "headers": [], "query_string": b""}
    found = [(await push.answer(Request(scope, nothing))).status_code for _ in range(4)]
    assert found == [401, 401, 429, 429]
    assert relay.counters.requests_refused == 2
