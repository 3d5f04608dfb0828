"""What several tables are made with."""

from typing import Any

from bunker_core.errors import BunkerError, InvalidRPC

USER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
PEER = "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
NOW = 1_800_000_000


def outcome(read: Any) -> dict[str, Any]:
    """Return what `read` returns, or what it raises, as a row has it."""
    try:
        return {"found": read()}
    except InvalidRPC as error:
        return {"error": str(error), "request_id": error.request_id}
    except BunkerError as error:
        return {"error": str(error)}
