"""README's table is what the tests of interop hold, with today's versions."""

import re
from importlib.util import find_spec
from pathlib import Path

from interop.driven import LIBRARIES
from interop.peers import library_version
from interop.tables.works_with import written
from support.require import need

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"


def test_the_readme_has_the_table_of_today() -> None:
    """A library that is updated, or fails what it did, changes the table."""
    need(find_spec("nostr_sdk"), "nostr-sdk 0.45.1")
    page = README.read_text()
    assert written(page) == page, "see works_with.py"


def test_the_pairing_page_says_what_was_run() -> None:
    """Each library that runs here, in the version that runs here, and no other."""
    need(find_spec("nostr_sdk"), "nostr-sdk 0.45.1")
    page = (ROOT / "docs" / "how-to" / "pair-clients.md").read_text()
    (head,) = re.findall(r"^\| client \|.*\| what was run \|$", page, re.MULTILINE)
    table = page.partition(head)[2].partition("\n\n")[0]
    run = {version.rstrip(".") for version in re.findall(r"[A-Za-z_-]+ \d+\.\d+\.\d+", table)}
    assert run == {library_version(name) for name in LIBRARIES if name != "our client"}
