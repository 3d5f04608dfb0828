"""NIP-46: the requests and responses that client and remote signer exchange, as of 2026-07.

What is tolerated here, and why, was observed on seven client libraries; the comments name them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import orjson

from bunker_core.errors import InvalidRPC
from bunker_core.kinds import MAX_KIND

MAX_ID: Final = 256  # characters of a request id; the longest seen in the field is 36
MAX_PAGE: Final = 2048  # characters of an auth_url
_MAX_ECHO: Final = 4096  # characters of an id that is wrong, and echoed in the error
MAX_METADATA: Final = 256  # characters of each metadata field; more is cut off
_LOGINS: Final = ("22242", "24242", "27235")  # relay, Blossom, HTTP: good for one host
MAX_PERMISSIONS: Final = 256  # entries of a permission list; more is an attack
# An extension of ours: a ping with this parameter is answered with the state of the key when it is
# not "unlocked", as "locked" or "paused" instead of "pong". Others do not look at the parameters of
# a ping. NIP-46 has no word for it, and a request to a locked key waits without one.
ASK_STATE: Final = "state"


class Method(Enum):
    """The methods of NIP-46."""

    CONNECT = "connect"
    SIGN_EVENT = "sign_event"
    PING = "ping"
    GET_PUBLIC_KEY = "get_public_key"
    NIP04_ENCRYPT = "nip04_encrypt"
    NIP04_DECRYPT = "nip04_decrypt"
    NIP44_ENCRYPT = "nip44_encrypt"
    NIP44_DECRYPT = "nip44_decrypt"
    NIP44V3_ENCRYPT = "nip44v3_encrypt"  # a draft: (pubkey, kind, scope, base64) -> payload
    NIP44V3_DECRYPT = "nip44v3_decrypt"  # (pubkey, kind, scope, payload) -> base64
    SWITCH_RELAYS = "switch_relays"
    LOGOUT = "logout"


_OF_A_SCOPE: Final = (Method.NIP44V3_ENCRYPT.value, Method.NIP44V3_DECRYPT.value)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks. `method` is free text: an unknown one must be answered with an error.

    `id` is echoed as it came; hand-made clients send a number. `params` are strings, or the
    object that hand-made clients send to `sign_event`.
    """

    id: str | int
    method: str
    params: tuple[Any, ...] = ()

    def to_json(self) -> str:
        """Return the text to encrypt."""
        return _dumps({"id": self.id, "method": self.method, "params": self.params})

    def param(self, index: int) -> str:
        """Return the text parameter at `index`, or "" when it is absent or not text.

        Clients fill the places before an optional parameter with "", so "" is "absent".
        """
        value = self.params[index] if index < len(self.params) else ""
        return value if isinstance(value, str) else ""

    def __repr__(self) -> str:  # params hold the pairing secret and plaintexts
        return f"Request(id={self.id!r}, method={self.method!r})"


@dataclass(frozen=True, slots=True)
class Response:
    """What the remote signer answers: `result`, or `error` when that is not None."""

    id: str | int  # in an error whatever the request had
    result: str | None = None
    error: str | None = None

    @property
    def is_auth_challenge(self) -> bool:
        """Whether the user has to agree somewhere first, and the answer follows."""
        return self.result == "auth_url"

    @property
    def auth_url(self) -> str | None:
        """The web page of an auth challenge. None if it names none: whatever is not http(s).

        It is printed to a terminal and opened by apps: a signer's text is neither a command for
        the one nor `javascript:` for the other.
        """
        page = self.error or ""
        return page if self.is_auth_challenge and _is_page(page) else None

    def to_json(self) -> str:
        """Return the text to encrypt.

        An error has `result: "error"` beside it and a success has no `error` at all: of the
        shapes tried, the only ones that all seven libraries understand (R2).
        """
        if self.error is None:
            return _dumps({"id": self.id, "result": self.result or ""})
        result = "auth_url" if self.is_auth_challenge else "error"
        message = {"id": self.id, "result": result, "error": self.error}
        try:
            return _dumps(message)
        except InvalidRPC:  # an id of 23 digits, or with half an emoji: it goes back as it came
            return json.dumps(message)

    def __repr__(self) -> str:  # the result may be a decrypted text or a pairing secret
        return f"Response(id={self.id!r}, {'ok' if self.error is None else 'error'})"


@dataclass(frozen=True, slots=True)
class Permission:
    """One `method[:param]` of a permission list; for `sign_event` the param is a kind.

    For the methods of NIP-44 version 3 it is a kind, or kind/scope: `nip44v3_decrypt:30078/app`.
    """

    method: str
    param: str | None = None

    def __str__(self) -> str:
        return self.method if self.param is None else f"{self.method}:{self.param}"


@dataclass(frozen=True, slots=True)
class ClientMetadata:
    """What a client says of itself. Unauthenticated: a hint for display, never for a decision."""

    name: str = ""
    url: str = ""
    image: str = ""

    def to_json(self) -> str:
        """Return the 4th parameter of `connect`."""
        fields = {"name": self.name, "url": self.url, "image": self.image}
        return _dumps({key: value for key, value in fields.items() if value})


def parse_request(text: str) -> Request:
    """Read a decrypted request.

    `params` may be missing or not a list (ping, get_public_key and logout of several clients).
    Raises InvalidRPC, with the id where it can be read: an error is owed to every request.
    """
    try:
        value = _object(text)
        request_id = _id(value)
    except InvalidRPC as error:
        raise _answerable(text, str(error)) from None
    method = value.get("method")
    if not isinstance(method, str):
        if "result" in value:
            raise InvalidRPC("message is a response")
        raise InvalidRPC("method is missing", request_id=request_id, answerable=True)
    params = value.get("params")
    return Request(request_id, method, tuple(params) if isinstance(params, list) else ())


def parse_message(text: str) -> Request | Response:
    """Read what a remote signer sends: nearly always a response. Raises InvalidRPC."""
    value = _object(text)
    if isinstance(value.get("method"), str) and "result" not in value:
        return parse_request(text)
    return parse_response(text)


def parse_response(text: str) -> Response:
    """Read a decrypted response, in any shape that signers are known to send.

    `error` may be an object with a message (snstr), `result` may be null (Amber) or a JSON value
    instead of its text. Raises InvalidRPC.
    """
    value = _object(text)
    return Response(_id(value), _text(value.get("result")), _error(value.get("error")))


def parse_permissions(text: str) -> tuple[Permission, ...]:
    """Read a comma-separated permission list, without doubles and in order.

    An entry that is not `method[:param]`, or a sign_event whose param is no kind, is left out:
    the list is a proposal of a stranger, and leaving out grants less.
    """
    found: dict[Permission, None] = {}
    for entry in text.split(",", MAX_PERMISSIONS)[:MAX_PERMISSIONS]:
        method, colon, param = entry.strip().partition(":")
        if not method or not method.isascii() or not method.replace("_", "").isalnum():
            continue
        if not param.isprintable():  # it will be shown to a person, on a console perhaps
            continue
        if method == Method.SIGN_EVENT.value and colon and not _is_kind(param):
            continue
        if method in _OF_A_SCOPE and colon and not _is_kind(param.partition("/")[0]):
            continue
        found[Permission(method, param if colon else None)] = None
    return tuple(found)


def format_permissions(permissions: Iterable[Permission]) -> str:
    """Return the comma-separated list of NIP-46."""
    return ",".join(map(str, permissions))


def parse_metadata(text: str) -> ClientMetadata:
    """Read the 4th parameter of `connect`; what is not an object of strings counts as empty."""
    if not text:
        return ClientMetadata()
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ClientMetadata()
    return metadata_from(value)


def metadata_from(value: object) -> ClientMetadata:
    """Read name, url and image from a mapping; whatever is not text is dropped, long text cut."""
    if not isinstance(value, dict):
        return ClientMetadata()
    fields = {
        key: "".join(filter(str.isprintable, item))[:MAX_METADATA]
        for key, item in value.items()
        if key in ("name", "url", "image") and isinstance(item, str)
    }
    return ClientMetadata(**fields)


def parse_relay_list(result: str) -> tuple[str, ...] | None:
    """Read the result of `switch_relays`; None means "nothing to change". Raises InvalidRPC."""
    try:
        value = orjson.loads(result or "null")
    except orjson.JSONDecodeError:
        raise InvalidRPC("switch_relays result is not JSON") from None
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRPC("switch_relays result is not an array of strings")
    return tuple(value)


def _answerable(text: str, reason: str) -> InvalidRPC:
    """Return the error for a request that `orjson` does not read, with its id if Python does.

    Half of an emoji, NaN, a byte order mark, and ids that are no text or too long: clients with
    such a bug wait for ever otherwise.
    """
    try:
        value = json.loads(text.removeprefix("\ufeff"), parse_int=_integer)
        request_id = value["id"]
        method = value["method"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return InvalidRPC(reason)
    known = request_id is None or type(request_id) in (str, int, float)
    if not known or not isinstance(method, str) or len(str(request_id)) > _MAX_ECHO:
        return InvalidRPC(reason)
    if is_not_unicode(value):
        reason = "message is not Unicode: it has half of a surrogate pair"
    return InvalidRPC(reason, request_id=request_id, answerable=True)


def is_not_unicode(value: object) -> bool:
    """Tell whether a JSON value has half of a surrogate pair anywhere in its texts."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except RecursionError:  # written down it goes one deeper than it was read
        return False
    return False


def _integer(text: str) -> int:
    """Return a number as it was written; False, which is no id, for one that Python can't read."""
    return int(text) if len(text) <= _MAX_ECHO else False


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidRPC("message is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidRPC("message is not an object")
    return value


def _id(value: dict[str, Any]) -> str | int:
    request_id = value.get("id")
    if isinstance(request_id, str) and len(request_id) <= MAX_ID:
        return request_id
    if type(request_id) is int:
        return request_id
    raise InvalidRPC("id is missing or not a text")


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return _dumps(value)


def _error(value: object) -> str | None:
    if value is None or value == "":
        return None  # nostrify needs a missing error, nostr_sdk an empty one: both mean "none"
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        return str(value["message"])
    return _text(value)


def _is_page(text: str) -> bool:
    printable = text.isascii() and text.isprintable() and " " not in text
    return printable and len(text) <= MAX_PAGE and text.startswith(("https://", "http://"))


def _is_kind(param: str) -> bool:
    """Tell whether a parameter is a kind; of a login it may have a host after it."""
    kind, colon, host = param.partition(":")
    if colon and (kind not in _LOGINS or not host or not host.isascii()):
        return False
    return kind.isascii() and kind.isdigit() and len(kind) <= 5 and int(kind) <= MAX_KIND


def _dumps(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise InvalidRPC("text is not valid Unicode") from None
