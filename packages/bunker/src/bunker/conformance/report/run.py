"""One run of the kit, for every form of report: what was judged, when, and all verdicts."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bunker.conformance.case import Case, Level, Result, Verdict

# What `--level` counts: the level itself and all that is asked more strongly.
COUNTED: Final = {
    Level.MUST: (Level.MUST,),
    Level.SHOULD: (Level.MUST, Level.SHOULD),
    Level.MAY: (Level.MUST, Level.SHOULD, Level.MAY),
}


@dataclass(frozen=True, slots=True)
class Run:
    """All results for one target. `version` is this kit's."""

    target: str
    kind: str  # relay, signer or client
    version: str
    began: datetime
    seconds: float
    results: tuple[Result, ...]

    def counts(self, level: Level | None = None) -> Counter[Verdict]:
        """Return how many cases, of a level or of all, ended in each verdict."""
        return Counter(
            result.verdict for result in self.results if level in (None, result.case.level)
        )

    def convicted(self, level: Level) -> list[Result]:
        """Return what was done wrongly, at `level` and above."""
        return [r for r in self.results if r.convicts and r.case.level in COUNTED[level]]

    def to_dict(self) -> dict[str, Any]:
        """Return the run as JSON has it."""
        return {
            "kit": f"nostr-bunker {self.version}",
            "target": self.target,
            "kind": self.kind,
            "began": self.began.astimezone(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 2),
            "counts": {verdict.value: self.counts()[verdict] for verdict in Verdict},
            "cases": [_case(result) for result in self.results],
        }


def issue(result: Result, run: Run) -> str:
    """Return a text, in Markdown, for an issue of the project that was judged."""
    return (
        f"{explain(result)}\n\n"
        f"Judged: {run.target}, {run.began:%Y-%m-%d}, nostr-bunker {run.version}. "
        f"To repeat: `{repeat(result.case, run)}`\n"
    )


def explain(result: Result) -> str:
    """Return what a case found, in Markdown."""
    case = result.case
    heading = f"{case.id}: {case.expected.rstrip('.')}"
    verdict = "hangs" if result.verdict is Verdict.HANGS else "fails"
    trace = "\n".join(f"    {line}" for line in result.trace) or "    (nothing)"
    return (
        f"### {heading}\n\n"
        f"`{case.id}` ({case.level.value.upper()}; {case.source}) {verdict}.\n\n"
        f"- **Sent:** {case.sent}\n"
        f"- **Expected:** {case.expected}\n"
        f"- **What came:** {result.reason}\n\n"
        f"What went over the wire (seconds, `->` sent by the kit, `<-` sent to it; "
        f"in brackets, decrypted):\n\n{trace}"
    )


def repeat(case: Case, run: Run) -> str:
    """Return the command that runs one case again."""
    place = {"relay": "URL", "signer": "BUNKER_URI", "client": "-- COMMAND"}[run.kind]
    return f"bunker conformance {run.kind} --case {case.id} {place}"


def _case(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "id": case.id,
        "level": case.level.value,
        "source": case.source,
        "sent": case.sent,
        "expected": case.expected,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "seconds": round(result.seconds, 3),
        "trace": [str(line) for line in result.trace],
    }
