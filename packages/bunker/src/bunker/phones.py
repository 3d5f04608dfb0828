"""How the phones of an installation stand: who joined, who can be woken, who answers."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bunker_client.doctor import ASLEEP, Health, examine_signer

FOLDER: Final = "phone"  # in the installation
RELAY_URL: Final = "relay.url"  # in FOLDER: where the relay was last
_TIMEOUT: Final = 10.0  # seconds for a phone to wake up and answer


def phones_of(data: Path) -> list[dict[str, Any]]:
    """Return who joined, when each was last here, and how its latest push went; [] without one."""
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
                "seen_at": max((item.get("seen_at") or 0 for item in browsers), default=0) or None,
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
        if phone["seen_at"] is not None:
            wakes += f", last seen {_when(phone['seen_at'])}"
        if phone["pushed_at"] is not None:
            good = phone["outcome"].startswith("2")
            wakes += f", last push {_when(phone['pushed_at'])}"
            wakes += "" if good else f" failed: {phone['outcome']}"
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
                (item.health, f"{_awake(item.health, item.text)} {item.remedy}".strip())
                async for item in examine_signer([url], pubkey, _TIMEOUT)
            ]

        for health, text in asyncio.run(ask()):
            yield health, f"{name}: {text}"


def _awake(health: Health, text: str) -> str:
    """Say of one that answers whether it had to be woken."""
    return f"awake, {text}" if health is Health.GOOD and not text.startswith(ASLEEP) else text


def _when(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _read(path: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
