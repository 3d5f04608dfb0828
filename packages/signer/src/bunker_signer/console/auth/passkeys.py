"""Passkeys (WebAuthn): to log in, and to confirm one action if the owner chose that.

A challenge is good once, for two minutes, for one purpose. To confirm, the purpose is the very
form that is sent: what was answered, for which requests.

It says itself what it is for and until when, under our MAC: nothing is kept for somebody who asks
for one, and nobody's is pushed out by a stranger's. Only one that was answered with a passkey is
remembered, until it is too old anyway.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Any, Final

import webauthn
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from bunker_core.bounds.recent import Recent
from bunker_signer.console.auth.address import Address
from bunker_signer.console.problem import Problem
from bunker_signer.store.accounts import Accounts, Passkey

LIFETIME: Final = 120.0  # seconds to put a finger on the sensor
_SPENT: Final = 4096  # answers in LIFETIME that are remembered; each took a passkey
_NONCE: Final = 16  # bytes
_UNTIL: Final = 8  # bytes of a time, in milliseconds
_USER: Final = b"owner"  # there is one; all passkeys are theirs
_REGISTER: Final = "register"
_LOG_IN: Final = "log in"


class Passkeys:
    """Makes challenges and checks the answers."""

    def __init__(
        self,
        address: Address,
        accounts: Accounts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = address
        self._accounts = accounts
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._spent: Recent[bool] = Recent(_SPENT)

    # To register.

    def registration(self, device_id: str) -> str:
        """Return the options for navigator.credentials.create, as JSON."""
        options = webauthn.generate_registration_options(
            rp_id=self._address.host,
            rp_name="nostr-bunker",
            user_id=_USER,
            user_name="nostr-bunker",
            challenge=self._challenge(f"{_REGISTER} {device_id}"),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=self._known(),
        )
        return webauthn.options_to_json(options)

    def register(self, credential: str, device_id: str, name: str) -> None:
        """Remember the passkey that a browser made; raises Problem."""
        challenge = self._challenge_of(credential, f"{_REGISTER} {device_id}")
        try:
            verified = webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._address.host,
                expected_origin=self._address.origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError):
            raise Problem("problem.passkey", 403) from None
        self._spend(challenge)
        self._accounts.add_passkey(
            Passkey(
                verified.credential_id,
                verified.credential_public_key,
                verified.sign_count,
                name,
                int(self._clock()),
            )
        )

    # To log in.

    def login(self) -> str:
        """Return the options for navigator.credentials.get, as JSON.

        They name no passkey: a stranger does not learn which there are.
        """
        return self._options(_LOG_IN, known=False)

    def log_in(self, credential: str) -> Passkey:
        """Return the passkey that was shown; raises Problem."""
        return self._verify(credential, _LOG_IN)

    # To confirm.

    def confirmation(self, device_id: str, path: str, form: Mapping[str, str]) -> str:
        """Return the options to confirm that `form` is sent to `path`."""
        return self._options(_purpose(device_id, path, form), known=True)

    def check(self, proof: str, device_id: str, path: str, form: Mapping[str, str]) -> None:
        """Raise Problem unless `proof` confirms this very form."""
        if not proof:
            raise Problem("problem.confirm", 403)
        self._verify(proof, _purpose(device_id, path, form))

    # Both.

    def _options(self, purpose: str, *, known: bool) -> str:
        options = webauthn.generate_authentication_options(
            rp_id=self._address.host,
            challenge=self._challenge(purpose),
            allow_credentials=self._known() if known else None,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return webauthn.options_to_json(options)

    def _verify(self, credential: str, purpose: str) -> Passkey:
        challenge = self._challenge_of(credential, purpose)
        try:
            identifier = base64url_to_bytes(str(_object(credential)["rawId"]))
        except (ValueError, KeyError):
            raise Problem("problem.passkey", 403) from None
        passkey = next(
            (item for item in self._accounts.passkeys() if item.credential_id == identifier), None
        )
        if passkey is None:
            raise Problem("problem.passkey", 403)
        try:
            verified = webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._address.host,
                expected_origin=self._address.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError):
            raise Problem("problem.passkey", 403) from None
        self._spend(challenge)
        self._accounts.use_passkey(identifier, verified.new_sign_count)
        return passkey

    def _known(self) -> list[PublicKeyCredentialDescriptor]:
        return [
            PublicKeyCredentialDescriptor(id=item.credential_id)
            for item in self._accounts.passkeys()
        ]

    def _challenge(self, purpose: str) -> bytes:
        until = round((self._clock() + LIFETIME) * 1000).to_bytes(_UNTIL, "big")
        head = secrets.token_bytes(_NONCE) + until
        return head + self._mac(head, purpose)

    def _challenge_of(self, credential: str, purpose: str) -> bytes:
        """Return the challenge that a browser answered, if it is ours, unused and for this."""
        try:
            client_data = _object(
                base64url_to_bytes(_object(credential)["response"]["clientDataJSON"])
            )
            name = str(client_data["challenge"])
            challenge = base64url_to_bytes(name)
            # A frame of another site's page around ours: what was tapped is not what was meant.
            foreign = client_data.get("crossOrigin", False) is not False
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Problem("problem.passkey", 403) from None
        head, mac = challenge[: _NONCE + _UNTIL], challenge[_NONCE + _UNTIL :]
        until = int.from_bytes(head[_NONCE:], "big") / 1000
        good = compare_digest(mac, self._mac(head, purpose)) and self._clock() <= until
        if foreign or not good or self._spent.get(challenge.hex()) is not None:
            raise Problem("problem.passkey", 403)
        return challenge

    def _spend(self, challenge: bytes) -> None:
        self._spent.put(challenge.hex(), value=True)

    def _mac(self, head: bytes, purpose: str) -> bytes:
        return hmac_digest(self._secret, head + purpose.encode(), sha256)


def _purpose(device_id: str, path: str, form: Mapping[str, str]) -> str:
    content = json.dumps([device_id, path, sorted(form.items())])
    return f"confirm {sha256(content.encode()).hexdigest()}"


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value
