"""Prometheus's page: every counter moves with what it counts."""

import re

import httpx

from bunker_core.keys import SecretKey
from support.wire import Peer, Start, note, request


def _port(log: str) -> int:
    found = re.search(r'"port": (\d+)', log)
    assert found is not None
    return int(found[1])


async def test_the_counters(start: Start) -> None:
    """Accepted, refused, muted, delivered, held, and what is open now."""
    relay = start(config='metrics.port = 0\nlog.format = "json"\ngrace.seconds = 60')
    key = SecretKey.generate()
    async with Peer(relay.url) as peer, Peer(relay.url) as other:
        await other.subscribe("s", {"authors": [key.pubkey], "kinds": [1, 24133]})
        assert (await peer.publish(note(key)))[0]  # stored, and delivered to other
        assert (await peer.publish(request(key, "a" * 64)))[0]  # delivered to other
        assert (await peer.publish(note(key, kind=20001)))[1].startswith("mute:")
        held = request(SecretKey.generate(), key.pubkey)
        assert (await peer.publish(held))[1].startswith("mute:")
        assert not (await peer.publish(note(key, kind=22242)))[0]
        async with httpx.AsyncClient() as http:
            url = f"http://127.0.0.1:{_port(relay.log())}/metrics"
            text = (await http.get(url)).text
    found = {
        name.removeprefix("bunker_relay_"): float(value)
        for name, value in (line.split() for line in text.splitlines() if line[0] != "#")
        if not name.endswith("_created")
    }
    assert {
        "connections_total": 2,
        "connections_refused_total": 0,
        "events_accepted_total": 2,
        "events_refused_total": 1,
        "events_muted_total": 2,
        "events_held_total": 1,
        "events_delivered_total": 2,
        "connections_open": 2,
        "subscriptions_open": 1,
        "queries_failed_total": 0,
        "store_errors_total": 0,
        "slow_clients_closed_total": 0,
        "offenders_closed_total": 0,
        "saves_waiting": 0,
    }.items() <= found.items()
    assert found["grace_bytes"] > 0
    assert found["messages_total"] == 6
    assert key.pubkey not in text


def test_what_is_answered_with_429_is_counted(start: Start) -> None:
    """A page, and a handshake that would be refused anyway."""
    rates = "rates.requests_per_ip = {per_second = 0.001, burst = 3}"
    relay = start(config=f'metrics.port = 0\nlog.format = "json"\n{rates}')
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
    with httpx.Client(base_url=relay.url.replace("ws:", "http:")) as http:
        found = [http.get("/").status_code for _ in range(4)]
        found += [http.get("/elsewhere", headers=upgrade).status_code for _ in range(2)]
    assert found == [200] * 3 + [429] * 3
    text = httpx.get(f"http://127.0.0.1:{_port(relay.log())}/metrics").text
    assert "\nbunker_relay_requests_refused_total 3.0\n" in text
    assert "\nbunker_relay_connections_refused_total 0.0\n" in text
