"""A passkey without a browser: ES256 in software, as a phone would answer."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import bytes_to_base64url

from bunker_signer.store.accounts import FILE_NAME, Accounts, Passkey


class Authenticator:
    """One passkey for `origin` (http://localhost:PORT)."""

    def __init__(self, origin: str, credential_id: bytes = b"soft-passkey-1") -> None:
        self.origin = origin
        self.credential_id = credential_id
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = 0

    def passkey(self) -> Passkey:
        """Return what the console keeps of it."""
        point = self._key.public_key().public_numbers()
        # RFC 9053: an EC2 key, ES256, P-256, as CBOR.
        x, y = (number.to_bytes(32, "big") for number in (point.x, point.y))
        cose = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20" + x + b"\x22\x58\x20" + y
        return Passkey(self.credential_id, cose, 0, "Soft", 1)

    def register(self, data: Path) -> None:
        """Put it into the console's database, as if it had been added."""
        accounts = Accounts(data / FILE_NAME)
        accounts.add_passkey(self.passkey())
        accounts.close()

    def answer(self, options: str, **changes: Any) -> str:
        """Return the credential for WebAuthn options; `changes` go into the client's data."""
        client_data = json.dumps(
            {
                "type": "webauthn.get",
                "challenge": json.loads(options)["challenge"],
                "origin": self.origin,
                "crossOrigin": False,
                **changes,
            }
        ).encode()
        self._count += 1
        host = self.origin.partition("://")[2].rpartition(":")[0]
        flags = b"\x05"  # present and verified
        data = sha256(host.encode()).digest() + flags + self._count.to_bytes(4, "big")
        signature = self._key.sign(data + sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        name = bytes_to_base64url(self.credential_id)
        return json.dumps(
            {
                "id": name,
                "rawId": name,
                "type": "public-key",
                "clientExtensionResults": {},
                "response": {
                    "clientDataJSON": bytes_to_base64url(client_data),
                    "authenticatorData": bytes_to_base64url(data),
                    "signature": bytes_to_base64url(signature),
                },
            }
        )
