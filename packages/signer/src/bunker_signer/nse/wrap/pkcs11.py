"""Slot type `pkcs11`: a P-256 private key in a PKCS#11 token (SoftHSM, YubiHSM, smart card).

A slot stores an ephemeral public key; the token's ECDH with it, through HKDF, is the wrapping key.
The token's private key is made sensitive and not extractable, and never leaves it.
"""

# mypy: disable-error-code="import-untyped,import-not-found"
# The library is an extra, and ships no types; what it returns is checked or wiped here.

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bunker_core.keys import Buffer, wipe
from bunker_signer.nse.blob import Params, damaged
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import Page, wipe_bytes
from bunker_signer.nse.wrap import Ask, missing_library
from bunker_signer.nse.wrap.params import expect, hex_bytes, no_more_options, option, text
from bunker_signer.nse.wrap.passphrase import normalize_into

DEFAULT_LABEL: Final = "nostr-bunker"

_POINT_BYTES: Final = 65  # uncompressed P-256
_INFO: Final = b"nse:v2:pkcs11"


class Pkcs11:
    """A token opened with its user PIN; the key called `label` is made in it when it is missing."""

    type: Final = "pkcs11"
    hardware: Final = True
    device_bound: Final = True

    def __init__(
        self, module: str, token: str, pin: str | Buffer, label: str = DEFAULT_LABEL
    ) -> None:
        """Use the token labelled `token` by the PKCS#11 library at `module`, a path."""
        self._module = module
        self._token = token
        self._label = label
        self._page = Page()
        self._pin_length = normalize_into(pin, self._page.view)

    def create(self, pubkey: str, key: memoryview) -> Params:
        ephemeral = ec.generate_private_key(ec.SECP256R1())
        point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        with self._session(rw=True) as session:
            self._make_key(session)
            self._derive(session, pubkey, point, key)
        return {"token": self._token, "label": self._label, "point": point.hex()}

    def recover(self, pubkey: str, params: Params, key: memoryview) -> None:
        expect(params, "token", "label", "point")
        point = hex_bytes(params, "point", size=_POINT_BYTES)
        try:  # an invalid point would make the token compute on another curve
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        except ValueError:
            raise damaged("slot parameter 'point' is not on the curve") from None
        if (text(params, "token"), text(params, "label")) != (self._token, self._label):
            raise NSEError(
                f"the slot belongs to key {params['label']!r} of token {params['token']!r}",
                NSEErrorCode.HARDWARE_UNAVAILABLE,
            )
        with self._session(rw=False) as session:
            self._derive(session, pubkey, point, key)

    def close(self) -> None:
        """Wipe the PIN."""
        self._page.close()

    def _derive(self, session: Any, pubkey: str, point: bytes, out: memoryview) -> None:
        import pkcs11

        private = self._find(session)
        if private is None:
            raise NSEError(
                f"token {self._token!r} has no key labelled {self._label!r}",
                NSEErrorCode.HARDWARE_UNAVAILABLE,
            )
        shared = private.derive_key(
            pkcs11.KeyType.GENERIC_SECRET,
            256,
            mechanism_param=(pkcs11.KDF.NULL, None, point),
            capabilities=pkcs11.MechanismFlag.DERIVE,
            template={
                pkcs11.Attribute.SENSITIVE: False,
                pkcs11.Attribute.EXTRACTABLE: True,
                pkcs11.Attribute.TOKEN: False,
            },
        )
        value: bytes = shared[pkcs11.Attribute.VALUE]
        try:
            info = _INFO + pubkey.encode()
            HKDF(SHA256(), 32, salt=point, info=info).derive_into(value, out)
        finally:
            wipe_bytes(value)
            shared.destroy()

    def _find(self, session: Any) -> Any:
        import pkcs11

        attributes = {
            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
            pkcs11.Attribute.LABEL: self._label,
        }
        return next(iter(session.get_objects(attributes)), None)

    def _make_key(self, session: Any) -> None:
        import pkcs11
        from pkcs11.util.ec import encode_named_curve_parameters

        if self._find(session) is not None:
            return
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC,
            {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        parameters.generate_keypair(
            store=True,
            label=self._label,
            capabilities=pkcs11.MechanismFlag.DERIVE,
            private_template={
                pkcs11.Attribute.SENSITIVE: True,
                pkcs11.Attribute.EXTRACTABLE: False,
            },
        )

    @contextmanager
    def _session(self, *, rw: bool) -> Iterator[Any]:
        try:
            import pkcs11
            from pkcs11 import exceptions
        except ImportError:
            raise missing_library("python-pkcs11", "pkcs11") from None
        if not self._page.alive:
            raise NSEError("PIN was wiped", NSEErrorCode.AUTH_FAILED)
        pin = str(self._page.view[: self._pin_length], "utf-8")
        try:
            token = pkcs11.lib(self._module).get_token(token_label=self._token)
            with token.open(rw=rw, user_pin=pin) as session:
                yield session
        except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange):
            raise NSEError("wrong PIN for the token", NSEErrorCode.AUTH_FAILED) from None
        except exceptions.PinLocked:
            raise NSEError(
                "the token has locked its PIN after too many wrong ones: its security officer "
                "unlocks it, or use the recovery slot",
                NSEErrorCode.AUTH_FAILED,
            ) from None
        except exceptions.PKCS11Error as error:
            detail = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise NSEError(
                f"token {self._token!r} can't be used: {detail}",
                NSEErrorCode.HARDWARE_UNAVAILABLE,
            ) from None


def from_options(options: Mapping[str, str], ask: Ask) -> Pkcs11:
    """Make the protector from `module=PATH`, `token=LABEL` and perhaps `label=KEY`; asks a PIN."""
    no_more_options(options, "module", "token", "label")
    module, token = option(options, "module"), option(options, "token")
    pin = ask(f"PIN of token {token}")
    try:
        return Pkcs11(module, token, pin, option(options, "label", DEFAULT_LABEL))
    finally:
        wipe(pin)
