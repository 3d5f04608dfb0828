"""README's table of what works with what, from what the tests of interop hold.

cd tests && ../.venv/bin/python -m interop.tables.works_with ../README.md
"""

import re
import sys
from pathlib import Path
from typing import Final

from interop import test_owner
from interop.driven import LIBRARIES
from interop.peers import library_version
from interop.test_ways_in import LACKS, WAYS

HEAD: Final = (
    *("client", "`bunker://`", "`nostrconnect://`", "one relay of two down"),
    *("asked, denied, no answer, locked", "signer killed", "back after the relay"),
)
YES: Final = "yes"
_MARKS: Final = re.compile(r"(<!-- interop -->\n).*?(<!-- /interop -->)", re.DOTALL)


def table() -> str:
    """Return the table, in Markdown."""
    assert set(LACKS) <= set(LIBRARIES) >= set(test_owner.DEAF_AFTERWARDS)
    lines = [HEAD, ("---",) * len(HEAD)]
    for library in LIBRARIES:
        if library != "our client":
            lines.append(_line(library))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _line(library: str) -> tuple[str, ...]:
    lacks = LACKS.get(library, {})
    bunker, invitation, by_two, invited_by_two = WAYS
    two = lacks.get(by_two) or (f"yes; invites: {lacks[invited_by_two]}" if _alone(lacks) else YES)
    after = test_owner.NOTES.get(library, "").removeprefix("reconnect: ")
    return (
        library_version(library),
        lacks.get(bunker, YES),
        lacks.get(invitation, YES),
        two,
        "yes, NIP-04 only" if library in test_owner.NIP04_ALONE else YES,
        YES,
        after or YES,
    )


def _alone(lacks: dict[str, str]) -> bool:
    """Tell whether it is the invitation by two relays alone that does not work."""
    return WAYS[3] in lacks and WAYS[1] not in lacks


def written(page: str) -> str:
    """Return a page with the table in its place."""
    assert _MARKS.search(page), "the page has no place for the table"
    return _MARKS.sub(lambda found: found[1] + table() + found[2], page)


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(written(readme.read_text()))
