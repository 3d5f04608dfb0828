"""The event that came back, compared with the one that was asked for."""

from bunker_client.errors import InvalidReply
from bunker_core.errors import InvalidEvent
from bunker_core.event import EventTemplate, VerifiedEvent, parse_event_json, verify


def read_signed(
    text: str, asked: EventTemplate, user_pubkey: str, *, accept_created_at: bool = False
) -> VerifiedEvent:
    """Return the event in the answer to `sign_event`, id and signature checked.

    Raises InvalidReply, which says what differs from `asked`. With `accept_created_at` the signer
    may date it anew.
    """
    try:
        signed = verify(parse_event_json(text))
    except InvalidEvent as error:
        raise InvalidReply(f"sign_event: {error}") from None
    if signed.pubkey != user_pubkey:
        raise InvalidReply("sign_event: the event is signed by another key")
    names = [
        name
        for name in ("kind", "content", "tags", "created_at")
        if getattr(signed, name) != getattr(asked, name)
    ]
    if names == ["created_at"]:
        if accept_created_at:
            return signed
        moved = signed.created_at - asked.created_at
        raise InvalidReply(
            f"sign_event: the signer moved created_at by {moved} s; accept_created_at=True takes "
            "that"
        )
    if names:
        raise InvalidReply(f"sign_event: the signer changed {', '.join(names)}")
    return signed
