"""The one screen of `bunker up`: 80 columns, 24 rows."""

import textwrap
from typing import Final, NamedTuple

_LABEL: Final = 10  # characters
_WIDTH: Final = 79  # the last column is left alone: some terminals break there


class Screen(NamedTuple):
    """What a person should know when it runs. The URI stands between the two halves."""

    relay_url: str
    npub: str
    protection: str
    memory: str
    recovery: str
    grants: str
    pairs: bool  # whether the URI is shown
    data_option: str  # " --data DIR", or "" where the data is in its usual place
    signer_option: str

    def text(self) -> str:
        """Return the lines above the URI."""
        return "\n".join(
            [
                "nostr-bunker is running. Ctrl-C stops it.",
                "",
                _lines("relay", f"{self.relay_url} (for your signer and its apps alone)"),
                _lines("you", self.npub),
                _lines("key", self.protection),
                _lines("", f"open for one signature at a time, memory: {self.memory}"),
                _lines("recovery", self.recovery),
                _lines("apps", self.grants),
                "",
                "Pair one app, within 24 hours: paste this where it says bunker or remote signer."
                if self.pairs
                else f"Pair an app: `bunker signer pair{self.signer_option}` prints what it needs.",
            ]
        )

    def what_next(self) -> str:
        """Return the lines below the URI."""
        return "\n".join(
            [
                f"Next:  another app    bunker signer pair{self.signer_option}",
                f"       how it stands  bunker status{self.data_option}",
                f"       a backup       bunker backup{self.data_option} FILE",
            ]
        )


def _lines(label: str, text: str) -> str:
    """Return a labelled text, broken between words to the width of a terminal."""
    indent = " " * (_LABEL + 2)
    rows = [
        row
        for line in text.splitlines()
        for row in textwrap.wrap(
            line, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False
        )
    ]
    return "\n".join(
        (f"  {label:<{_LABEL}}" if not number else indent) + row for number, row in enumerate(rows)
    )
