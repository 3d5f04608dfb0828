"""What is wrong with a text before it is encrypted or decrypted, so far as that is no secret.

CryptoError has one message for all that a key is involved in; what can be told from the text alone
is told, because "decryption failed" for a payload of the other scheme helps nobody.
"""

from bunker_core.nips import nip04
from bunker_core.nips.nip46 import Method


def fault(method: Method, text: str) -> str | None:
    """Return why `method` can't be done with `text`, None if it may be done."""
    match method:
        case Method.NIP44_ENCRYPT | Method.NIP04_ENCRYPT if _is_not_unicode(text):
            return "the text is not Unicode: it has half of a surrogate pair"
        case Method.NIP44_ENCRYPT if not text:
            return "the text is empty: NIP-44 encrypts one byte or more"
        case Method.NIP44_DECRYPT | Method.NIP04_DECRYPT if not text.strip():
            return "there is nothing to decrypt"
        case Method.NIP44_DECRYPT if nip04.is_payload(text):
            return "this is a NIP-04 payload (it has ?iv=): ask for nip04_decrypt"
        case Method.NIP04_DECRYPT if not nip04.is_payload(text):
            return "this is no NIP-04 payload (it has no ?iv=): ask for nip44_decrypt"
        case _:
            return None


def _is_not_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
