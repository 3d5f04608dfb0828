"""Reading slot parameters: they come from a file, so that nothing in them is taken as it is."""

from collections.abc import Mapping

from bunker_core.event import is_hex
from bunker_signer.nse.blob import Params, damaged
from bunker_signer.nse.errors import NSEError, NSEErrorCode


def expect(params: Params, *names: str) -> None:
    """Raise NSEError unless `params` has exactly these names."""
    if params.keys() != set(names):
        raise damaged("slot parameter is missing or unknown")


def hex_bytes(params: Params, name: str, *, size: int | None = None, most: int = 4096) -> bytes:
    """Return the bytes of a hex parameter: `size` of them, or 1 to `most`."""
    value = params[name]
    if not isinstance(value, str) or not is_hex(value, len(value)) or len(value) % 2:
        raise damaged(f"slot parameter {name!r} is not hexadecimal")
    length = len(value) // 2
    if length != size if size is not None else not 1 <= length <= most:
        raise damaged(f"slot parameter {name!r} has the wrong length")
    return bytes.fromhex(value)


def integer(params: Params, name: str, low: int, high: int) -> int:
    """Return a whole-number parameter from `low` to `high`, a clamp against hostile files."""
    value = params[name]
    if type(value) is not int or not low <= value <= high:
        raise damaged(f"slot parameter {name!r} is not from {low} to {high}")
    return value


def text(params: Params, name: str, most: int = 512) -> str:
    """Return a printable text parameter of 0 to `most` characters."""
    value = params[name]
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise damaged(f"slot parameter {name!r} is not a short text")
    return value


def option(options: Mapping[str, str], name: str, default: str | None = None) -> str:
    """Return an option of a protector factory; raises NSEError when it is needed and missing."""
    value = options.get(name, default)
    if value is None:
        raise NSEError(f"option {name!r} is missing", NSEErrorCode.HARDWARE_UNAVAILABLE)
    return value


def no_more_options(options: Mapping[str, str], *known: str) -> None:
    """Raise NSEError for an option that nobody reads: a typing error must not pass silently."""
    if unknown := sorted(options.keys() - set(known)):
        allowed = ", ".join(known) or "none"
        raise NSEError(
            f"unknown option {unknown[0]!r}: known are {allowed}",
            NSEErrorCode.HARDWARE_UNAVAILABLE,
        )
