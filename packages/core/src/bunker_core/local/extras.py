"""How a person gets what an extra of a package of ours needs, in a command that is safe to run."""

import re
import shlex
import sys
from typing import Final

_OURS: Final = "nostr-bunker"
# "zxing-cpp>=2.2; extra == 'qr'", as a wheel's metadata writes a requirement (PEP 508).
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([a-z0-9._-]+)['"]""")


def how_to_install(distribution: str, extra: str) -> str:
    """Return a command that brings an extra of `distribution`, for the Python that runs.

    It names other projects' packages alone. Our own names are not ours in the index until a
    release is published there: a command with them could install what a stranger put there.
    """
    if getattr(sys, "frozen", False):
        return "this single file has it not; an installation by pip can (docs/how-to/install.md)"
    found = sorted(_requirements(distribution, extra))
    if not found:
        return f"the extra `{extra}` of {distribution} has it (docs/how-to/install.md)"
    return f"{shlex.join([sys.executable, '-m', 'pip', 'install', *found])} brings it"


def _requirements(distribution: str, extra: str) -> set[str]:
    """Return what an extra asks for of others; extras of ours that it names are looked into."""
    # Imported here, where something is missing: whoever has it all can do without two megabytes.
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return set()
    found: set[str] = set()
    for line in lines:
        wanted, _, marker = line.partition(";")
        named = _EXTRA.search(marker)
        if named is None or named[1] != extra:
            continue
        if not wanted.startswith(_OURS):
            found.add(wanted.strip())
            continue
        ours = re.match(r"([a-z-]+)\[([a-z,]+)\]", wanted)
        for inner in ours[2].split(",") if ours else ():
            found |= _requirements(ours[1], inner) if ours else set()
    return found
