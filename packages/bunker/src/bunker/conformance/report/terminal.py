"""The summary for a terminal."""

from collections.abc import Iterator

from bunker.conformance.case import Level, Verdict
from bunker.conformance.report.run import Run


def summary(run: Run) -> Iterator[str]:
    """Yield the lines: what did not pass, each with its reason, then the sums."""
    width = max((len(result.case.id) for result in run.results), default=0)
    for result in run.results:
        if result.verdict is Verdict.PASS:
            continue
        level = result.case.level.value.upper()
        yield f"{result.verdict.value:<11}  {level:<6}  {result.case.id:<{width}}  {result.reason}"
    if run.results:
        yield ""
    yield f"{run.target}"
    for level in Level:
        counts = run.counts(level)
        total = counts.total()
        if not total:
            continue
        rest = ", ".join(
            f"{counts[verdict]} {verdict.value}"
            for verdict in Verdict
            if verdict is not Verdict.PASS and counts[verdict]
        )
        yield f"  {level.value.upper():<6}  {counts[Verdict.PASS]:>3} of {total} pass" + (
            f"; {rest}" if rest else ""
        )
    yield f"  {len(run.results)} cases in {run.seconds:.1f} s"
