"""How the phones of an installation stand: who joined, who can be woken, who answers."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bunker_client.doctor import Health, examine_signer

FOLDER: Final = "phone"  # in the installation
RELAY_URL: Final = "relay.url"  # in FOLDER: where the relay was last
_TIMEOUT: Final = 10.0  # seconds for a phone to wake up and answer


def phones_of(data: Path) -> list[dict[str, Any]]:
    """Return who joined, and how the latest push to each went; [] without a phone."""
    joined = _read(data / FOLDER / "phones.json").get("phones", {})
    woken = _read(data / "relay" / "push.json")
    found = []
    for pubkey, phone in joined.items():
        browsers = woken.get(pubkey, [])
        latest = max(browsers, key=lambda item: item["pushed_at"] or 0, default=None)
        found.append(
            {
                "pubkey": pubkey,
                "name": phone["name"],
                "joined_at": phone["joined_at"],
                "wakes": bool(browsers),
                "pushed_at": latest["pushed_at"] if latest else None,
                "outcome": latest["outcome"] if latest else "",
            }
        )
    return found


def relay_url(data: Path) -> str:
    """Return where the relay was last, or ""."""
    try:
        return (data / FOLDER / RELAY_URL).read_text().strip()
    except OSError:
        return ""


def lines(phones: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each phone."""
    for phone in phones:
        wakes = "can be woken" if phone["wakes"] else "can't be woken: see its Settings"
        if phone["pushed_at"] is not None:
            when = datetime.fromtimestamp(phone["pushed_at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
            good = phone["outcome"].startswith("2")
            wakes += f", last push {when}" + ("" if good else f" failed: {phone['outcome']}")
        yield f"phone   {phone['name']} {phone['pubkey'][:8]}…: {wakes}"


def examine(data: Path) -> Iterator[tuple[Health, str]]:
    """Ask each phone for a sign of life, which wakes it; yield how it stands, in words."""
    url = relay_url(data)
    for phone in phones_of(data):
        name = f"phone {phone['name']} {phone['pubkey'][:8]}…"
        if not url:
            yield Health.WARNING, f"{name}: `bunker up --phone` did not run yet"
            continue

        async def ask(pubkey: str = phone["pubkey"]) -> list[tuple[Health, str]]:
            return [
                (item.health, f"{item.text} {item.remedy}".strip())
                async for item in examine_signer([url], pubkey, _TIMEOUT)
            ]

        for health, text in asyncio.run(ask()):
            yield health, f"{name}: {text}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
