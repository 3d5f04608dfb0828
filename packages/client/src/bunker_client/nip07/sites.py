"""What each site may have without asking again, decided here and kept in one file."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from bunker_client.errors import ClientError
from bunker_core.errors import InvalidInput
from bunker_core.local.files import write_private
from bunker_core.nips.nip46 import Permission

HOUR: Final = 3600  # seconds
MAX_ORIGIN: Final = 300  # characters; a host name has 253 at most
MAX_FILE_BYTES: Final = 1024 * 1024


class Answer(Enum):
    """What the user said to a question."""

    ONCE = "once"
    HOUR = "hour"  # this permission, for an hour
    ALWAYS = "always"
    DENY = "deny"
    NEVER = "never"

    @property
    def allows(self) -> bool:
        return self in (Answer.ONCE, Answer.HOUR, Answer.ALWAYS)


@dataclass(frozen=True, slots=True)
class Rule:
    """One remembered answer; `expires_at` is Unix seconds, None is for good."""

    allow: bool
    expires_at: int | None = None


class Sites:
    """The remembered answers, by origin and permission. A site that is not in here has none."""

    def __init__(self, path: Path) -> None:
        """Read the file at `path`, if there is one; raises ClientError."""
        self._path = path
        self._state: tuple[int, int, int] | None = None
        self._rules: dict[str, dict[str, Rule]] = {}
        self._refresh()

    def decide(self, origin: str, permission: Permission, now: int) -> bool | None:
        """Tell whether the site may; None means that the user has to be asked.

        Raises ClientError when the file was changed and can't be read.
        """
        self._refresh()
        rule = self._rules.get(origin, {}).get(str(permission))
        if rule is None or (rule.expires_at is not None and rule.expires_at <= now):
            return None
        return rule.allow

    def remember(self, origin: str, permission: Permission, answer: Answer, now: int) -> None:
        """Keep an answer that is for more than one request; raises ClientError."""
        match answer:
            case Answer.HOUR:
                rule = Rule(True, now + HOUR)
            case Answer.ALWAYS | Answer.NEVER:
                rule = Rule(answer.allows)
            case Answer.ONCE | Answer.DENY:
                return
        self._refresh()
        self._rules.setdefault(origin, {})[str(permission)] = rule
        self._save(now)

    def forget(self, origin: str, now: int) -> bool:
        """Drop all that is remembered of a site; return whether there was anything."""
        self._refresh()
        found = self._rules.pop(origin, None) is not None
        if found:
            self._save(now)
        return found

    def listed(self, now: int) -> list[tuple[str, str, Rule]]:
        """Return origin, permission and rule of all that is in force."""
        return [
            (origin, permission, rule)
            for origin, rules in sorted(self._rules.items())
            for permission, rule in sorted(rules.items())
            if rule.expires_at is None or rule.expires_at > now
        ]

    def _refresh(self) -> None:
        """Read the file again if another process, `bunker nip07 forget`, has written it."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._state, self._rules = None, {}
            return
        except OSError as error:
            raise ClientError(f"{self._path}: {error.strerror}") from None
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if state != self._state:
            self._rules = _read(self._path)
            self._state = state

    def _save(self, now: int) -> None:
        sites: dict[str, dict[str, Any]] = {}
        for origin, permission, rule in self.listed(now):
            kept = {"allow": rule.allow, "expires_at": rule.expires_at}
            sites.setdefault(origin, {})[permission] = kept
        content = orjson.dumps({"version": 1, "sites": sites}, option=orjson.OPT_INDENT_2)
        try:
            write_private(self._path, content, replace=True)
        except OSError as error:
            raise ClientError(f"{self._path}: {error.strerror}") from None


def parse_origin(value: object) -> str:
    """Read the origin of a site as a browser names it (RFC 6454); raises InvalidInput."""
    if not isinstance(value, str) or len(value) > MAX_ORIGIN:
        raise InvalidInput("origin is not a short text")
    try:
        parts = urlsplit(value)
        right = parts.scheme in ("https", "http") and bool(parts.hostname)
        whole = f"{parts.scheme}://{parts.netloc}" == value and "@" not in parts.netloc
        _ = parts.port
    except ValueError:
        right = whole = False
    if not right or not whole:
        raise InvalidInput("origin is not that of a web site")
    return value


def _read(path: Path) -> dict[str, dict[str, Rule]]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}") from None
    try:
        value = orjson.loads(data)
        if value["version"] != 1:
            raise ValueError
        return {
            parse_origin(origin): {
                str(permission): _rule(rule) for permission, rule in rules.items()
            }
            for origin, rules in value["sites"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ClientError(f"{path} is damaged; delete it to ask for everything anew") from None


def _rule(value: Any) -> Rule:
    allow, expires_at = value["allow"], value["expires_at"]
    if type(allow) is not bool or not (expires_at is None or type(expires_at) is int):
        raise ValueError
    return Rule(allow, expires_at)
