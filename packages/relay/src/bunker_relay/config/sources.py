"""Read the configuration: a TOML file, BUNKER_RELAY_* variables and flags; and print it.

Flags win over variables, variables over the file, the file over the defaults. A wrong value raises
ConfigError, which names the key, the value and what is allowed.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bunker_relay.config import ENV_PREFIX, Config, has_password
from bunker_relay.config.section import InvalidSection, Mistake, settings

_DATABASE: Final = f"{ENV_PREFIX}DATABASE"


class ConfigError(Exception):
    """The configuration can't be used; the text names each wrong key."""


def load(file: Path | None = None, **flags: Any) -> Config:
    """Return the configuration; a flag that is None or empty counts as not given.

    Raises ConfigError.
    """

    if file is not None and not file.is_file():
        raise ConfigError(f"there is no configuration file {file}")
    variables = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    unknown = _unknown(variables)
    if unknown:
        raise ConfigError(f"unknown variable {unknown[0]}; `bunker relay config` shows all keys")
    if has_password(os.environ.get(_DATABASE, "")):  # every child would get it, and show it
        raise ConfigError(
            f"{_DATABASE} holds a password: write it into the configuration file, or into a"
            " password file that the URL names (?passfile=...)"
        )
    given = {key: value for key, value in flags.items() if value not in (None, (), [])}
    try:
        held = {} if file is None else tomllib.loads(file.read_bytes().decode("utf-8-sig"))
        return Config.of(_over(_over(held, _from_environment(variables)), given))
    except InvalidSection as error:
        raise ConfigError("\n".join(map(_explain, error.mistakes))) from None
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply") from None
    except (OSError, ValueError) as error:  # the file can't be read, or is not TOML
        raise ConfigError(f"{file}: {error}") from None


def _from_environment(variables: list[str]) -> dict[str, Any]:
    """Return what variables hold, BUNKER_RELAY_LIMITS__MAX_LIMIT in the table `limits`."""
    found: dict[str, Any] = {}
    for variable in variables:
        *tables, key = variable[len(ENV_PREFIX) :].lower().split("__")
        value: Any = os.environ[variable]
        for name in (key, *reversed(tables)):
            value = {name: value}
        found = _over(found, value)
    return found


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return one source laid over another, key by key, in tables too."""
    laid = dict(below)
    for key, value in above.items():
        under = laid.get(key)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        laid[key] = _over(under, value) if both else value  # type: ignore[arg-type]  # see `both`
    return laid


def to_toml(config: Config) -> str:
    """Return the effective configuration as a TOML file that would give it again."""
    top: list[str] = []
    tables: list[str] = []
    for key, value in config.to_values().items():
        if isinstance(value, dict):
            tables += ["", *_table(key, value)]
        else:
            top.append(_assignment(key, value))
    return "\n".join([*top, *tables]) + "\n"


def _table(name: str, values: dict[str, Any]) -> list[str]:
    nested = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"[{name}]"] if len(nested) < len(values) else []
    lines += [_assignment(key, value) for key, value in values.items() if key not in nested]
    for key, value in nested.items():
        lines += [*([""] if lines else []), *_table(f"{name}.{key}", value)]
    return lines


def _assignment(key: str, value: Any) -> str:
    if value is None:
        return f"# {key} ="
    # A JSON scalar or list of them is also TOML, but for surrogate pairs and a bare DEL.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{key} = {text}"


def _explain(mistake: Mistake) -> str:
    """Say which key is wrong, what it holds and what is allowed."""
    if not mistake.path:
        return mistake.reason
    key = ".".join(mistake.path)
    if mistake.value is None:
        return f"{key}: {mistake.reason}; `bunker relay config` shows all keys"
    # Where a pubkey belongs, a private key may have been pasted: never show it again.
    # Nor a password.
    hidden = mistake.path[0] in ("signers", "allow", "owner", "database")
    shown = "" if hidden else f"{mistake.value!r:.80}: "
    allowed = f" (allowed: {mistake.allowed})" if mistake.allowed else ""
    return f"{key} = {shown}{mistake.reason}{allowed}"


def _unknown(variables: list[str]) -> list[str]:
    known = {f"{ENV_PREFIX}{key}".upper() for key in settings(Config)}
    return sorted(name for name in variables if name.upper().partition("__")[0] not in known)
