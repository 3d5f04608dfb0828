"""Run cases of the kit inside a test."""

from collections.abc import Iterable

from bunker.conformance.case import Case, Result, Verdict
from bunker.conformance.run import MakeKit, run


async def judged(
    cases: Iterable[Case],
    make_kit: MakeKit,
    prefix: str = "",
    at_once: int = 16,
    again: MakeKit | None = None,
) -> dict[str, Result]:
    """Return the results of the cases whose ids begin with `prefix`.

    `again` gives a case that goes wrong a second chance: some hold a target to a time, and a busy
    machine is not the target's doing.
    """
    chosen = [item for item in cases if item.id.startswith(prefix)]
    assert chosen
    return {r.case.id: r async for r in run(chosen, make_kit, at_once=at_once, again=again)}


def convicted(results: dict[str, Result]) -> set[str]:
    """Return the ids of the cases that failed or hang."""
    return {name for name, result in results.items() if result.convicts}


def reasons(results: dict[str, Result]) -> dict[str, str]:
    """Return why cases failed, for a test's own message."""
    return {name: r.reason for name, r in results.items() if r.verdict is not Verdict.PASS}
