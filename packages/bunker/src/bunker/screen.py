"""The one screen of `bunker up`."""

from dataclasses import dataclass
from pathlib import Path

_LABEL = 10  # characters


@dataclass(frozen=True, slots=True)
class Screen:
    """What a person should know when it runs. The QR code and the URI follow."""

    relay_url: str
    npub: str
    protection: str
    memory: str
    recovery: str
    grants: str
    data: Path
    default_data: bool

    def text(self) -> str:
        """Return the lines above the QR code."""
        return "\n".join(
            [
                "",
                "nostr-bunker is running. Ctrl-C stops it.",
                "",
                _line("relay", f"{self.relay_url} (for your signer and its apps alone)"),
                _line("you", self.npub),
                _line("key", self.protection),
                _line("", f"open for one signature at a time, memory: {self.memory}"),
                _line("recovery", self.recovery),
                _line("apps", self.grants),
                "",
                "Pair an app: paste this where it says bunker or remote signer, or scan it.",
                "It is good for one app and 24 hours.",
                "",
            ]
        )

    def what_next(self) -> str:
        """Return the lines below the URI."""
        data = "" if self.default_data else f" --data {self.data}"
        signer = self.data / "signer"
        return "\n".join(
            [
                "",
                "Next:",
                f"  another app      bunker signer pair --data {signer}",
                f"  how it stands    bunker status{data}",
                f"  a backup         bunker backup{data} FILE",
                "",
            ]
        )


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"
