"""The table of all measures, its JSON lines, and a chart."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import median
from typing import Final

from bench.meter import Sample
from bench.relay.relays import LOCAL_RELAY, NOSTR_RELAY, OURS, PLAIN
from bench.stats import Spread, percentile, spread

# Smaller is better for these units; a ratio to a peer says how many times better.
_SMALLER: Final = frozenset({"us", "ms", "s", "KiB/connection", "ms of its core"})
_PERCENTILES: Final = {"pairs.latency": (50, 99, 99.9), "pairs.sequential": (50, 99)} | {
    "nip46.sequential": (50, 99)
}
_OWN: Final = (OURS, PLAIN)
_CHART: Final = {
    "ingest": "Signed events taken a second",
    "pairs": "Deliveries between 100 clients and signers a second",
    "fan-out.200": "Deliveries to 200 subscribers a second",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    relay: str
    value: Spread
    unit: str
    peer: str  # the best other relay
    to_peer: float | None
    to_limit: float | None
    rss: float
    relay_cpu: float
    generator_cpu: float


def rows(samples: Iterable[Sample]) -> list[Row]:
    """Put the runs of each measure together, in the order in which they came."""
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        for one in _expand(sample):
            groups[one.measure, one.relay].append(one)
    _pool_tails(groups)
    middle = {key: median(item.value for item in group) for key, group in groups.items()}
    result = []
    for name in dict.fromkeys(name for name, _ in groups):
        relays = [relay for other, relay in groups if other == name]
        unit = groups[name, relays[0]][0].unit
        for relay in relays:
            group = groups[name, relay]
            peer = best_peer({item: middle[name, item] for item in relays}, unit)
            value = middle[name, relay]
            to_peer = None
            if relay in _OWN and peer and value:
                other = middle[name, peer]
                to_peer = other / value if unit in _SMALLER else value / other
            limits = [item.value / item.limit for item in group if item.limit]
            result.append(
                Row(
                    name,
                    relay,
                    spread([item.value for item in group]),
                    unit,
                    peer,
                    to_peer,
                    median(limits) if limits else None,
                    max(item.rss for item in group),
                    median(item.relay_cpu for item in group),
                    median(item.generator_cpu for item in group),
                )
            )
    return result


def best_peer(values: dict[str, float], unit: str) -> str:
    """Return the name of the best relay that is not ours, or ""."""
    others = {name: value for name, value in values.items() if name not in _OWN and value}
    if not others:
        return ""
    return (min if unit in _SMALLER else max)(others, key=lambda name: others[name])


def table(lines: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    out = [
        "| measure | relay | value (min-max) | unit | x best peer | x limit | MiB | CPU "
        "| generator |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in lines:
        value = number(row.value.median)
        if row.value.runs > 1:
            value += f" ({number(row.value.low)}-{number(row.value.high)})"
        cells = [
            row.name,
            row.relay,
            value,
            row.unit,
            "" if row.to_peer is None else f"{row.to_peer:.2f}",
            "" if row.to_limit is None else f"{row.to_limit:.2f}",
            f"{row.rss:.0f}" if row.rss else "",
            f"{row.relay_cpu:.2f}" if row.relay_cpu else "",
            f"{row.generator_cpu:.2f}" if row.generator_cpu else "",
        ]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def line(row: Row) -> str:
    """Return a measure in one line: name, value, unit, ratio to peer, ratio to limit."""
    peer = "-" if row.to_peer is None else f"{row.to_peer:.2f}"
    limit = "-" if row.to_limit is None else f"{row.to_limit:.2f}"
    name = f"{row.name} [{row.relay}]"
    return f"{name:48}{number(row.value.median):>12}  {row.unit:16}{peer:>8}{limit:>8}"


def number(value: float) -> str:
    """Return a figure with as many digits as it is worth."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def write(folder: Path, facts: dict[str, str], samples: Sequence[Sample]) -> None:
    """Write samples as JSON lines, and table and chart."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "samples.jsonl").open("w") as file:
        file.write(json.dumps(facts) + "\n")
        for sample in samples:
            fields = asdict(sample)
            fields.pop("values")
            file.write(json.dumps(fields) + "\n")
    lines = rows(samples)
    text = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    (folder / "table.md").write_text(f"{text}\n\n{table(lines)}\n")
    (folder / "chart.svg").write_text(chart(lines))


def chart(lines: Sequence[Row]) -> str:
    """Return bars of the measures that show most."""
    colors = {OURS: "#2563eb", PLAIN: "#93c5fd", LOCAL_RELAY: "#a16207", NOSTR_RELAY: "#a8a29e"}
    parts: list[str] = []
    y = 0
    for name, title in _CHART.items():
        group = [row for row in lines if row.name == name]
        if not group:
            continue
        most = max(row.value.median for row in group)
        y += 30
        parts.append(f'<text x="0" y="{y}" class="t">{escape(title)}</text>')
        for row in group:
            y += 24
            width = max(1, round(400 * row.value.median / most))
            color = colors.get(row.relay, "#78716c")
            parts.append(
                f'<text x="165" y="{y}" class="n">{escape(row.relay)}</text>'
                f'<rect x="175" y="{y - 13}" width="{width}" height="17" fill="{color}"/>'
                f'<text x="{180 + width}" y="{y}">{number(row.value.median)}</text>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {y + 12}"'
        ' font-family="sans-serif" font-size="13" fill="#44403c">'
        "<style>.t{font-weight:bold}.n{text-anchor:end}</style>"
        f'<rect width="680" height="{y + 12}" fill="#ffffff"/>' + "".join(parts) + "</svg>\n"
    )


def _expand(sample: Sample) -> list[Sample]:
    """Return a latency as one sample for each percentile that is asked for."""
    wanted = _PERCENTILES.get(sample.measure)
    if not wanted or not sample.values:
        return [sample]
    return [
        Sample(
            f"{sample.measure}.p{percent:g}",
            sample.relay,
            percentile(sample.values, percent),
            sample.unit,
            sample.run,
            sample.rss,
            sample.relay_cpu,
            sample.generator_cpu,
            sample.limit if percent == 50 else 0.0,
            sample.values,
        )
        for percent in wanted
    ]


def _pool_tails(groups: dict[tuple[str, str], list[Sample]]) -> None:
    """Take a p99.9 from the values of all runs: one run has too few of them."""
    for (name, _), group in groups.items():
        if name.endswith("p99.9"):
            pooled = [value for sample in group for value in sample.values]
            group[0].value = percentile(pooled, 99.9)
            del group[1:]
