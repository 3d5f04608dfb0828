"""One static page a run: no script, no request, readable on a phone."""

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from typing import Final

from bunker.conformance.case import Level, Result, Verdict
from bunker.conformance.report.run import Run, issue

_LINES_OF_A_PASS: Final = 16
_MARKS: Final = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.HANGS: "hangs",
    Verdict.NOT_OFFERED: "none",
    Verdict.NOT_RUN: "none",
}


def page(run: Run) -> str:
    """Return the page: sums first, then every chapter, what is wrong opened."""
    style = files("bunker.conformance.report").joinpath("page.css").read_text()
    title = f"{run.kind}: {run.target}"
    return "".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n',
            f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n",
            f"<h1>{escape(run.target)}</h1>\n",
            f"<p>Judged as a NIP-46 {run.kind} on {run.began:%Y-%m-%d %H:%M} UTC by nostr-bunker "
            f"{escape(run.version)}: {len(run.results)} cases in {run.seconds:.1f} s.</p>\n",
            *_sums(run),
            *_wrong(run),
            *_chapters(run),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _sums(run: Run) -> Iterator[str]:
    yield '<table class="sums">\n<tr><th scope="col"></th>'
    yield from (f'<th scope="col">{verdict.value}</th>' for verdict in Verdict)
    yield "</tr>\n"
    for level in Level:
        counts = run.counts(level)
        if counts.total():
            yield f'<tr><th scope="row">{level.value.upper()}</th>'
            yield from (
                f'<td class="{_MARKS[verdict] if counts[verdict] else "zero"}">'
                f"{counts[verdict]}</td>"
                for verdict in Verdict
            )
            yield "</tr>\n"
    yield "</table>\n"


def _wrong(run: Run) -> Iterator[str]:
    """Lead to what the target does wrongly."""
    wrong = run.convicted(Level.MAY)
    if not wrong:
        return
    yield "<h2>What is wrong</h2>\n<ul>\n"
    for result in wrong:
        name = escape(result.case.id)
        yield (
            f'<li><a href="#{name}">{name}</a> '
            f'<span class="level">{result.case.level.value.upper()}</span> '
            f"{escape(result.reason[:200])}</li>\n"
        )
    yield "</ul>\n"


def _chapters(run: Run) -> Iterator[str]:
    chapter = ""
    for result in run.results:
        own = result.case.id.rpartition("/")[0]
        if own != chapter:
            if chapter:
                yield "</section>\n"
            chapter = own
            yield f"<section>\n<h2>{escape(chapter)}</h2>\n"
        yield from _case(result, run)
    if chapter:
        yield "</section>\n"


def _case(result: Result, run: Run) -> Iterator[str]:
    case = result.case
    opened = " open" if result.convicts and case.level is Level.MUST else ""
    mark = _MARKS[result.verdict]
    yield f'<details id="{escape(case.id)}"{opened}>\n<summary>'
    yield f'<span class="mark {mark}">{result.verdict.value}</span> '
    yield f'<span class="level">{case.level.value.upper()}</span> '
    yield f"{escape(case.expected)}</summary>\n<dl>\n"
    rows = [("Case", case.id), ("From", case.source), ("Sent", case.sent)]
    if result.reason:
        rows.append(("What came", result.reason))
    yield from (f"<dt>{name}</dt><dd>{escape(text)}</dd>\n" for name, text in rows)
    yield "</dl>\n"
    if result.trace:
        lines = [str(line) for line in result.trace]
        if result.verdict is Verdict.PASS and len(lines) > _LINES_OF_A_PASS:
            rest = len(lines) - _LINES_OF_A_PASS
            lines = [*lines[:_LINES_OF_A_PASS], f"… {rest} more"]
        yield f"<pre>{escape(chr(10).join(lines))}</pre>\n"
    if result.convicts:
        yield "<details><summary>Text for an issue</summary>\n"
        yield f"<pre>{escape(issue(result, run))}</pre>\n</details>\n"
    yield "</details>\n"
