"""The figures are put together as they say."""

import json
from pathlib import Path

import pytest
from bench.meter import Sample
from bench.relay.relays import LOCAL_RELAY, NOSTR_RELAY, OURS
from bench.report import best_peer, chart, line, number, rows, table, write
from bench.stats import percentile, spread


def test_a_percentile_was_measured() -> None:
    """Nearest rank: no value between two."""
    values = list(range(1, 1001))
    assert [percentile(values, p) for p in (0, 50, 99, 99.9, 100)] == [1, 500, 990, 999, 1000]
    assert percentile([7.0], 99.9) == 7.0


def test_a_spread_is_median_and_ends() -> None:
    """Of any number of runs."""
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.runs) == (2.0, 1.0, 3.0, 3)


SAMPLES = [
    Sample("ingest", OURS, 10.0, "events/s", run=0, limit=20.0),
    Sample("ingest", OURS, 12.0, "events/s", run=1, limit=20.0),
    Sample("ingest", LOCAL_RELAY, 4.0, "events/s"),
    Sample("ingest", NOSTR_RELAY, 5.0, "events/s"),
    Sample("pairs.latency", OURS, 0, "us", limit=100.0, values=(200.0, 300.0, 250.0)),
    Sample("pairs.latency", LOCAL_RELAY, 0, "us", values=(1000.0,)),
]


def test_ratios_are_to_the_best_peer_and_to_the_limit_of_the_same_run() -> None:
    """Twice as fast is 2, whether much or little is good."""
    found = {(row.name, row.relay): row for row in rows(SAMPLES)}
    ingest = found["ingest", OURS]
    assert (ingest.value.median, ingest.peer, ingest.to_peer) == (11.0, NOSTR_RELAY, 2.2)
    assert ingest.to_limit == pytest.approx(0.55)
    assert found["ingest", LOCAL_RELAY].to_peer is None
    latency = found["pairs.latency.p50", OURS]
    assert (latency.to_peer, latency.to_limit) == (4.0, 2.5)
    assert found["pairs.latency.p99", OURS].value.median == 300.0


def test_the_tail_is_of_all_runs_together() -> None:
    """A p99.9 of 400 values in five runs is one of 2,000."""
    runs = [
        Sample("pairs.latency", OURS, 0, "us", run=run, values=(float(run),) * 400)
        for run in range(5)
    ]
    (tail,) = [row for row in rows(runs) if row.name.endswith("p99.9")]
    assert (tail.value.median, tail.value.runs) == (4.0, 1)


def test_nobody_is_the_best_of_none() -> None:
    """Without a peer there is no ratio."""
    assert best_peer({OURS: 1.0}, "us") == ""


def test_every_form_shows_the_figure(tmp_path: Path) -> None:
    """Table, line, chart and JSON lines."""
    found = rows(SAMPLES)
    assert "| ingest | nostr-bunker | 11 (10-12) | events/s | 2.20 | 0.55 |" in table(found)
    assert line(found[0]).split()[-4:] == ["11", "events/s", "2.20", "0.55"]
    assert "<rect" in chart(found)
    write(tmp_path, {"cpu": "some"}, SAMPLES)
    lines = (tmp_path / "samples.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"cpu": "some"}
    assert json.loads(lines[1])["value"] == 10.0


def test_a_figure_has_the_digits_that_it_is_worth() -> None:
    """Three, or all before the point."""
    assert [number(v) for v in (14_737.4, 213.2, 1.294, 0.85)] == ["14,737", "213", "1.29", "0.85"]
