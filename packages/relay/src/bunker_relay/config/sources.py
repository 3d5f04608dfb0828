"""Read the configuration: a TOML file, BUNKER_RELAY_* variables and flags; and print it.

Flags win over variables, variables over the file, the file over the defaults. A wrong value raises
ConfigError, which names the key, the value and what is allowed.
"""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from bunker_relay.config import ENV_PREFIX, Config, has_password

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


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
        if file is None and not variables:
            return Config(**given)
        return _read(file, given)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item) for item in error.errors())) from None
    except (OSError, ValueError) as error:  # the file can't be read, or is not TOML
        raise ConfigError(f"{file}: {error}") from None


def _read(file: Path | None, given: dict[str, Any]) -> Config:
    # Imported here: it is a fifth of the start, and most relays have flags alone.
    from pydantic_settings import (
        BaseSettings,
        PydanticBaseSettingsSource,
        SettingsConfigDict,
        TomlConfigSettingsSource,
    )

    class Sources(Config, BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=ENV_PREFIX,
            env_nested_delimiter="__",
            enable_decoding=False,  # lists have commas, see `config`
            nested_model_default_partial_update=True,
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            toml = TomlConfigSettingsSource(settings_cls, toml_file=file)
            return (init_settings, env_settings, toml)

    return Sources(**given)


def to_toml(config: Config) -> str:
    """Return the effective configuration as a TOML file that would give it again."""
    top: list[str] = []
    tables: list[str] = []
    for key, value in config.model_dump(mode="json").items():
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
    return f"{key} = {json.dumps(value)}"  # a JSON scalar or list of them is also TOML


def _explain(error: "ErrorDetails") -> str:
    """Say which key is wrong, what it holds and what is allowed."""
    path = [part for part in error["loc"] if isinstance(part, str)]
    key = ".".join(path) or "configuration"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key; `bunker relay config` shows all keys"
    if not path:
        return message
    value = error["input"]
    # Where a pubkey belongs, a private key may have been pasted: never show it again.
    # Nor a password.
    hidden = path[0] in ("signers", "allow", "owner", "database")
    shown = "" if hidden else f"{value!r:.80}: "
    allowed = _allowed(path)
    return f"{key} = {shown}{message}" + (f" (allowed: {allowed})" if allowed else "")


def _allowed(path: list[str]) -> str:
    model: Any = Config
    bounds: dict[str, Any] = {}
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return ""
        model = field.annotation
        metadata = [*field.metadata]
        for item in metadata:
            for name in ("ge", "gt", "le"):
                if hasattr(item, name):
                    bounds[name] = getattr(item, name)
    if isinstance(model, type) and issubclass(model, StrEnum):
        return ", ".join(model)
    if not bounds:
        return ""
    low = f"over {bounds['gt']}" if "gt" in bounds else f"{bounds.get('ge')}"
    return f"{low} to {bounds['le']}"


def _unknown(variables: list[str]) -> list[str]:
    known = {f"{ENV_PREFIX}{key}".upper() for key in Config.model_fields}
    return sorted(name for name in variables if name.upper().partition("__")[0] not in known)
