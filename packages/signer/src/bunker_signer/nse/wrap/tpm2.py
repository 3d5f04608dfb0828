"""Slot type `tpm2`: the wrapping key sealed by this machine's TPM 2.0, under a PIN, PCRs or both.

The sealed object keeps the TPM's dictionary lockout: after a number of wrong PINs (32 on most) the
TPM refuses everybody for a while, so that a short PIN is enough. All sessions are salted and
encrypted: whoever listens on the bus between CPU and TPM sees no key and no PIN.
"""

# mypy: disable-error-code="import-untyped,import-not-found"
# The library is an extra, and ships no types; what it returns is checked or wiped here.

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from typing import Any, Final

from bunker_core.keys import Buffer, wipe
from bunker_signer.nse.blob import Params
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import Page, fill_random, wipe_bytes
from bunker_signer.nse.wrap import Ask, missing_library
from bunker_signer.nse.wrap.params import expect, hex_bytes, integer, no_more_options, text
from bunker_signer.nse.wrap.passphrase import normalize_into

# The kernel's resource manager: other programs use the TPM at the same time.
DEFAULT_TCTI: Final = "device:/dev/tpmrm0"

_KEY_BYTES: Final = 32


class Tpm2:
    """The TPM behind `tcti` (a TCTI name such as `device:/dev/tpmrm0`)."""

    type: Final = "tpm2"
    hardware: Final = True
    device_bound: Final = True

    def __init__(
        self,
        pin: str | Buffer | None = None,
        *,
        pcrs: str | None = None,
        tcti: str = DEFAULT_TCTI,
    ) -> None:
        """Seal under `pin`, and under the present values of `pcrs` such as `sha256:7`, if given."""
        self._tcti = tcti
        self._pcrs = pcrs or ""
        self._page = Page()
        self._auth_length = 0
        if pin is not None:
            length = normalize_into(pin, self._page.view[64:])
            # Hashed, because an authorization value has 32 bytes at most.
            digest = sha256(self._page.view[64 : 64 + length]).digest()
            self._auth_length = len(digest)
            self._page.view[: self._auth_length] = digest
            wipe_bytes(digest)

    def create(self, pubkey: str, key: memoryview) -> Params:  # noqa: ARG002 -- the AAD binds it
        fill_random(key)
        with self._tpm() as (esapi, primary):
            private, public = self._seal(esapi, primary, key)
        return {
            "priv": private.hex(),
            "pub": public.hex(),
            "pcrs": self._pcrs,
            "pin": int(self._auth_length > 0),
        }

    def recover(self, pubkey: str, params: Params, key: memoryview) -> None:  # noqa: ARG002
        expect(params, "priv", "pub", "pcrs", "pin")
        private, public = hex_bytes(params, "priv"), hex_bytes(params, "pub")
        pcrs = text(params, "pcrs")
        if integer(params, "pin", 0, 1) and not self._auth_length:
            raise NSEError("the slot needs its PIN", NSEErrorCode.AUTH_FAILED)
        with self._tpm() as (esapi, primary):
            self._unseal(esapi, primary, private, public, pcrs, key)

    def close(self) -> None:
        """Wipe the PIN."""
        self._page.close()

    def _seal(self, esapi: Any, primary: Any, key: memoryview) -> tuple[bytes, bytes]:
        import tpm2_pytss as tpm

        public = tpm.TPM2B_PUBLIC(
            publicArea=tpm.TPMT_PUBLIC(
                type=tpm.TPM2_ALG.KEYEDHASH,
                nameAlg=tpm.TPM2_ALG.SHA256,
                # No NODA: wrong PINs count towards the lockout.
                objectAttributes=tpm.TPMA_OBJECT.FIXEDTPM
                | tpm.TPMA_OBJECT.FIXEDPARENT
                | (0 if self._pcrs else tpm.TPMA_OBJECT.USERWITHAUTH),
                parameters=tpm.TPMU_PUBLIC_PARMS(
                    keyedHashDetail=tpm.TPMS_KEYEDHASH_PARMS(
                        scheme=tpm.TPMT_KEYEDHASH_SCHEME(scheme=tpm.TPM2_ALG.NULL)
                    )
                ),
            )
        )
        if self._pcrs:
            with _session(esapi, primary, tpm.TPM2_SE.TRIAL) as trial:
                _pcr_policy(esapi, trial, self._pcrs)
                public.publicArea.authPolicy = esapi.policy_get_digest(trial)
        auth, data = bytes(self._page.view[: self._auth_length]), bytes(key)
        sensitive = tpm.TPM2B_SENSITIVE_CREATE(
            tpm.TPMS_SENSITIVE_CREATE(
                userAuth=tpm.TPM2B_AUTH(auth), data=tpm.TPM2B_SENSITIVE_DATA(data)
            )
        )
        try:
            with _session(esapi, primary, tpm.TPM2_SE.HMAC) as session:
                made, area, *_ = esapi.create(primary, sensitive, public, session1=session)
        finally:
            wipe_bytes(auth)
            wipe_bytes(data)
            _wipe_struct(sensitive)
        return made.marshal(), area.marshal()

    def _unseal(
        self, esapi: Any, primary: Any, private: bytes, public: bytes, pcrs: str, out: memoryview
    ) -> None:
        import tpm2_pytss as tpm

        try:
            made, made_length = tpm.TPM2B_PRIVATE.unmarshal(private)
            area, area_length = tpm.TPM2B_PUBLIC.unmarshal(public)
        except tpm.TSS2_Exception:
            made_length = area_length = 0
        if (made_length, area_length) != (len(private), len(public)):
            raise NSEError("slot's sealed object is damaged", NSEErrorCode.STORAGE_ERROR)
        with ExitStack() as stack:
            sealed = esapi.load(primary, made, area)
            stack.callback(esapi.flush_context, sealed)
            auth = bytes(self._page.view[: self._auth_length])
            try:
                esapi.tr_set_auth(sealed, auth)
            finally:
                wipe_bytes(auth)
            kind = tpm.TPM2_SE.POLICY if pcrs else tpm.TPM2_SE.HMAC
            session = stack.enter_context(_session(esapi, primary, kind))
            if pcrs:
                _pcr_policy(esapi, session, pcrs)
            data = esapi.unseal(sealed, session1=session)
            if data.size != _KEY_BYTES:
                raise NSEError("slot's sealed object is no key", NSEErrorCode.STORAGE_ERROR)
            value = bytes(data.buffer)
            out[:] = value
            wipe_bytes(value)
            _wipe_struct(data)
            # The library keeps the last response, decrypted: have another one in its place.
            esapi.get_random(2 * _KEY_BYTES, session1=session)

    @contextmanager
    def _tpm(self) -> Iterator[tuple[Any, Any]]:
        """Have the TPM and its storage primary, an ECC key that it derives from its own seed."""
        os.environ.setdefault("TSS2_LOG", "all+NONE")  # its errors come as exceptions
        try:
            import tpm2_pytss as tpm
        except ImportError:
            raise missing_library("tpm2-pytss", "tpm") from None
        if not self._page.alive:
            raise NSEError("PIN was wiped", NSEErrorCode.AUTH_FAILED)
        try:
            with ExitStack() as stack:
                esapi = stack.enter_context(tpm.ESAPI(self._tcti))
                primary, *_ = esapi.create_primary(None, "ecc")
                stack.callback(esapi.flush_context, primary)
                yield esapi, primary
        except tpm.TSS2_Exception as error:
            raise _explained(error, self._tcti) from None
        except (ValueError, RuntimeError):  # a PCR list or a TCTI name that is none
            raise NSEError(
                f"TPM can't be used: wrong name {self._tcti!r}, or PCRs not like 'sha256:7'",
                NSEErrorCode.HARDWARE_UNAVAILABLE,
            ) from None


def from_options(options: Mapping[str, str], ask: Ask) -> Tpm2:
    """Make the protector from `pcrs=sha256:7`, `tcti=NAME` and `pin=no`; asks a PIN by default."""
    no_more_options(options, "pcrs", "tcti", "pin")
    pcrs, tcti = options.get("pcrs"), options.get("tcti", DEFAULT_TCTI)
    if options.get("pin") == "no":
        return Tpm2(pcrs=pcrs, tcti=tcti)
    pin = ask("TPM PIN")
    try:
        return Tpm2(pin, pcrs=pcrs, tcti=tcti)
    finally:
        wipe(pin)


@contextmanager
def _session(esapi: Any, primary: Any, kind: Any) -> Iterator[Any]:
    """Have a session salted by the primary key that encrypts parameters in both directions."""
    import tpm2_pytss as tpm

    symmetric = tpm.TPMT_SYM_DEF(
        algorithm=tpm.TPM2_ALG.AES,
        keyBits=tpm.TPMU_SYM_KEY_BITS(aes=128),
        mode=tpm.TPMU_SYM_MODE(aes=tpm.TPM2_ALG.CFB),
    )
    session = esapi.start_auth_session(
        primary, tpm.ESYS_TR.NONE, kind, symmetric, tpm.TPM2_ALG.SHA256
    )
    try:
        wanted = tpm.TPMA_SESSION.DECRYPT | tpm.TPMA_SESSION.ENCRYPT
        esapi.trsess_set_attributes(session, wanted | tpm.TPMA_SESSION.CONTINUESESSION)
        yield session
    finally:
        esapi.flush_context(session)


def _pcr_policy(esapi: Any, session: Any, pcrs: str) -> None:
    esapi.policy_pcr(session, b"", pcrs)
    esapi.policy_auth_value(session)


def _wipe_struct(value: Any) -> None:
    """Zero the C structure that the library keeps for a secret."""
    from tpm2_pytss._libtpm2_pytss import ffi

    buffer = ffi.buffer(value._cdata) if _is_struct(value) else ffi.buffer(value._cdata[0:1])
    buffer[:] = bytes(len(buffer))


def _is_struct(value: Any) -> bool:
    from tpm2_pytss._libtpm2_pytss import ffi

    return bool(ffi.typeof(value._cdata).kind == "pointer")


def _explained(error: Any, tcti: str) -> NSEError:
    from tpm2_pytss import TPM2_RC

    match error.error:
        case TPM2_RC.AUTH_FAIL | TPM2_RC.BAD_AUTH:
            return NSEError(
                "wrong PIN for the TPM: it counts wrong ones and locks itself after too many",
                NSEErrorCode.AUTH_FAILED,
            )
        case TPM2_RC.LOCKOUT:
            return NSEError(
                "the TPM has locked itself after too many wrong PINs: it forgives one after its "
                "recovery time, tpm2_dictionarylockout --clear-lockout forgives all",
                NSEErrorCode.AUTH_FAILED,
            )
        case TPM2_RC.POLICY_FAIL | TPM2_RC.PCR_CHANGED:
            return NSEError(
                "the machine is not in the state that the slot was sealed for (PCRs differ): use "
                "another slot, then make this one anew",
                NSEErrorCode.AUTH_FAILED,
            )
        case TPM2_RC.INTEGRITY:
            return NSEError(
                "the slot was sealed by another TPM, or this one was cleared",
                NSEErrorCode.HARDWARE_UNAVAILABLE,
            )
        case _:
            return NSEError(
                f"TPM can't be used ({tcti}): {str(error).splitlines()[0]}",
                NSEErrorCode.HARDWARE_UNAVAILABLE,
            )
