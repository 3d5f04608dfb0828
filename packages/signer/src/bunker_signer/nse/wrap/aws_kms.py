"""Slot type `aws-kms`: a symmetric key in AWS Key Management Service.

KMS makes the wrapping key and keeps what decrypts it; the encryption context names the pubkey, so
that a slot copied to another key does not open, and every use stands in CloudTrail by pubkey.
Credentials and region come from boto3's own places (environment, profile, instance role).
"""

# mypy: disable-error-code="import-untyped,import-not-found"
# The library is an extra, and ships no types; what it returns is checked or wiped here.

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from bunker_signer.nse.blob import Params
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import wipe_bytes
from bunker_signer.nse.wrap import Ask, missing_library
from bunker_signer.nse.wrap.params import expect, hex_bytes, no_more_options, option, text

_CONTEXT: Final = "nse:pubkey"
_KEY_BYTES: Final = 32
_REFUSED: Final = frozenset({"AccessDeniedException", "InvalidCiphertextException"})


class AwsKms:
    """The KMS key `key_id` (id, ARN or alias), through a boto3 client made at first use."""

    type: Final = "aws-kms"
    hardware: Final = True
    device_bound: Final = True

    def __init__(
        self, key_id: str, *, region: str | None = None, endpoint: str | None = None
    ) -> None:
        self._key_id = key_id
        self._region = region
        self._endpoint = endpoint
        self._made: Any = None

    def create(self, pubkey: str, key: memoryview) -> Params:
        with _kms_errors():
            answer = self._client().generate_data_key(
                KeyId=self._key_id,
                NumberOfBytes=_KEY_BYTES,
                EncryptionContext={_CONTEXT: pubkey},
            )
        _take(answer, key)
        return {"key": answer["KeyId"], "blob": answer["CiphertextBlob"].hex()}

    def recover(self, pubkey: str, params: Params, key: memoryview) -> None:
        expect(params, "key", "blob")
        with _kms_errors():
            answer = self._client().decrypt(
                KeyId=text(params, "key"),
                CiphertextBlob=hex_bytes(params, "blob", most=6144),
                EncryptionContext={_CONTEXT: pubkey},
            )
        _take(answer, key)

    def _client(self) -> Any:
        if self._made is None:
            try:
                import boto3
                from botocore.config import Config
            except ImportError:
                raise missing_library("boto3", "kms") from None
            # A signer that waits a minute for an answer is a signer that does not answer.
            config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3})
            self._made = boto3.client(
                "kms", region_name=self._region, endpoint_url=self._endpoint, config=config
            )
        return self._made


def from_options(options: Mapping[str, str], ask: Ask) -> AwsKms:  # noqa: ARG001 -- no secret
    """Make the protector from `key=ID`, and perhaps `region=NAME` and `endpoint=URL`."""
    no_more_options(options, "key", "region", "endpoint")
    return AwsKms(
        option(options, "key"), region=options.get("region"), endpoint=options.get("endpoint")
    )


def _take(answer: dict[str, Any], key: memoryview) -> None:
    """Move the plaintext of an answer into the page. Copies that boto3 made can't be reached."""
    plaintext: bytes = answer.pop("Plaintext")
    try:
        if len(plaintext) != _KEY_BYTES:
            raise NSEError("KMS answered with no key", NSEErrorCode.HARDWARE_UNAVAILABLE)
        key[:] = plaintext
    finally:
        wipe_bytes(plaintext)


@contextmanager
def _kms_errors() -> Iterator[None]:
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise missing_library("boto3", "kms") from None
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown error")
        raise NSEError(
            f"KMS refused: {code}",
            NSEErrorCode.AUTH_FAILED if code in _REFUSED else NSEErrorCode.HARDWARE_UNAVAILABLE,
        ) from None
    except BotoCoreError as error:
        raise NSEError(
            f"KMS can't be reached: {str(error).splitlines()[0]}",
            NSEErrorCode.HARDWARE_UNAVAILABLE,
        ) from None
