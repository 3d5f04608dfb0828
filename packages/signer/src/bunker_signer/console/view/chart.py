"""Requests by day and app as a small picture, drawn here: no script, no library, no image."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from bunker_core.describe import Texts, plain

SERIES: Final = 4  # apps with a colour of their own; all others share one
WIDTH: Final = 360
HEIGHT: Final = 150
_BOTTOM: Final = 22  # for the days' names
_TOP: Final = 14  # for the highest number
_GAP: Final = 6


@dataclass(frozen=True, slots=True)
class Chart:
    """The picture, what its colours mean, and the numbers for those who can't see it."""

    svg: Markup
    legend: tuple[tuple[int, str], ...]  # number of the colour, name
    table: tuple[tuple[str, int], ...]  # day, requests
    total: int


def draw(
    requests: Mapping[tuple[int, str], int],
    days: Sequence[str],
    names: Mapping[str, str],
    texts: Texts,
) -> Chart:
    """Draw how many `requests` there were, by the index of the day and the pubkey of the app."""
    counts = Counter({at: count for at, count in requests.items() if 0 <= at[0] < len(days)})
    by_app: Counter[str] = Counter()
    by_day: Counter[int] = Counter()
    for (day, app), count in counts.items():
        by_app[app] += count
        by_day[day] += count
    ranked = [app for app, _ in sorted(by_app.items(), key=lambda item: (-item[1], item[0]))]
    series = ranked[:SERIES]
    legend = [(number, names.get(app) or plain.short(app)) for number, app in enumerate(series)]
    if len(ranked) > SERIES:
        legend.append((SERIES, texts("activity.others")))
    stacks: list[list[int]] = []
    for day in range(len(days)):
        mine = [counts[day, app] for app in series]
        stacks.append([*mine, by_day[day] - sum(mine)])
    total = sum(by_day.values())
    label = texts("activity.chart_label", total=total, days=len(days))
    table = tuple((days[day], by_day[day]) for day in range(len(days)))
    return Chart(_svg(stacks, days, label), tuple(legend), table, total)


def _svg(stacks: Sequence[Sequence[int]], days: Sequence[str], label: str) -> Markup:
    highest = max([sum(stack) for stack in stacks] + [1])
    base = HEIGHT - _BOTTOM
    step = WIDTH / len(days)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">',
        f'<line class="axis" x1="0" y1="{base}" x2="{WIDTH}" y2="{base}"/>',
    ]
    for day, stack in enumerate(stacks):
        y = float(base)
        for number, count in enumerate(stack):
            if not count:
                continue
            height = count / highest * (base - _TOP)
            y -= height
            parts.append(
                f'<rect class="series{number}" x="{day * step + _GAP / 2:.1f}" y="{y:.1f}" '
                f'width="{step - _GAP:.1f}" height="{height:.1f}" rx="2"/>'
            )
        if sum(stack):
            middle = (day + 0.5) * step
            parts.append(
                f'<text x="{middle:.1f}" y="{y - 3:.1f}" text-anchor="middle">{sum(stack)}</text>'
            )
        if day % 3 == (len(days) - 1) % 3:
            last = day == len(days) - 1  # its name is wider than its column
            x, anchor = (WIDTH, "end") if last else ((day + 0.5) * step, "middle")
            parts.append(
                f'<text class="day" x="{x:.1f}" y="{HEIGHT - 6}" '
                f'text-anchor="{anchor}">{escape(days[day])}</text>'
            )
    parts.append("</svg>")
    # Numbers of ours and escaped texts, nothing else.
    return Markup("".join(parts))  # noqa: S704
