"""One page of many runs: the table of what each relay, signer and client does."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from bunker.conformance.case import Level, Verdict

_MARKS: Final = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "**✗**",
    Verdict.HANGS: "**…**",
    Verdict.NOT_OFFERED: "–",
    Verdict.NOT_RUN: "",
}
_TITLES: Final = {
    "relay": "Relays, in the role that NIP-46 gives them",
    "signer": "Remote signers",
    "client": "Clients",
}
Run = dict[str, Any]


def table(runs: Sequence[Run]) -> str:
    """Return the page (Markdown) of runs that were written with --json."""
    lines = [
        "# Who conforms",
        "",
        "Written by `make conformance`, from the runs below; do not edit.",
        "[How to judge your own](how-to/conformance.md).",
        "",
        "✓ passes; **✗** fails; **…** hangs: nothing came in the time that the case waits;",
        "– is not offered, and said to be missing instead of done wrongly; empty: the run was not",
        "given what the case needs. MUST, SHOULD and MAY with a NIP stand there in these words or",
        "are what the NIP says plainly. Where a specification is silent, a case is marked",
        "*practice*: what running apps need; nobody breaks a rule who fails it.",
        "",
        "All are judged by the same cases, ours too, in the configuration that they come with. The",
        "programs that run the libraries are in `tests/interop` and `bench/peers`, as short as",
        "their documentation shows; where one makes less of its library than it could, a better",
        "one is welcome. A case that goes wrong is judged once more, and that verdict counts: what",
        "goes wrong by chance, or by another case's doing, is no fault of the target's. A signer",
        "gets a relay and a process of its own for it.",
    ]
    for kind, title in _TITLES.items():
        chosen = [run for run in runs if run["kind"] == kind]
        if chosen:
            lines += ["", f"## {title}", "", *_sums(chosen), "", *_matrix(chosen)]
            lines += ["", f"### What failed ({kind}s)", "", *_failures(chosen)]
    return "\n".join(lines) + "\n"


def _sums(runs: Sequence[Run]) -> Iterator[str]:
    yield "| | target | MUST | SHOULD | MAY | seconds | judged |"
    yield "|---|---|---|---|---|---|---|"
    for number, run in enumerate(runs, 1):
        cells = (_passed(run, level) for level in Level)
        day = str(run["began"]).partition("T")[0]
        yield (
            f"| {number} | {_cell(run['target'])} | {' | '.join(cells)} "
            f"| {run['seconds']:.0f} | {day}, {_cell(run['kit'])} |"
        )


def _passed(run: Run, level: Level) -> str:
    verdicts = [case["verdict"] for case in run["cases"] if case["level"] == level.value]
    aside = sum(item in (Verdict.NOT_OFFERED, Verdict.NOT_RUN) for item in verdicts)
    rest = f", {aside} aside" if aside else ""
    return f"{verdicts.count(Verdict.PASS.value)} of {len(verdicts)}{rest}"


def _matrix(runs: Sequence[Run]) -> Iterator[str]:
    yield f"| case | | {' | '.join(str(number) for number in range(1, len(runs) + 1))} |"
    yield f"|---|---|{'---|' * len(runs)}"
    found: dict[str, dict[int, Any]] = {}
    for number, run in enumerate(runs):
        for case in run["cases"]:
            found.setdefault(case["id"], {})[number] = case
    for name, by_run in found.items():
        case = next(iter(by_run.values()))
        level = case["level"].upper() + (
            " *practice*" if case["source"].startswith("practice") else ""
        )
        cells = (
            _MARKS[Verdict(by_run[number]["verdict"])] if number in by_run else ""
            for number in range(len(runs))
        )
        yield f"| `{name}` {_cell(case['expected'])} | {level} | {' | '.join(cells)} |"


def _failures(runs: Sequence[Run]) -> Iterator[str]:
    """Say in what each target fails a MUST."""
    for run in runs:
        wrong = [
            case
            for case in run["cases"]
            if case["level"] == Level.MUST.value
            and case["verdict"] in (Verdict.FAIL.value, Verdict.HANGS.value)
        ]
        if not wrong:
            yield f"- **{_cell(run['target'])}**: no MUST"
            continue
        yield f"- **{_cell(run['target'])}**"
        for case in wrong:
            yield f"    - `{case['id']}` ({_cell(case['source'])}): {_cell(case['reason'][:300])}"


def _cell(text: str) -> str:
    kept = " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
    return kept.replace("*", "\\*").replace("[", "\\[")
