"""Every protector against the real thing: seal, open, refuse, lose."""

# mypy: disable-error-code="import-untyped,import-not-found"

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bunker_core.event import EventTemplate, verify
from bunker_signer.nse import NSE, MemoryStorage, NSEError, NSEErrorCode
from bunker_signer.nse.wrap import Protector, make_protector, protector_types
from bunker_signer.nse.wrap.aws_kms import AwsKms
from bunker_signer.nse.wrap.keyring import Keyring
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase, ScryptCost
from bunker_signer.nse.wrap.pkcs11 import Pkcs11
from bunker_signer.nse.wrap.tpm2 import Tpm2
from signer.nse.conftest import Kms, Token
from support.require import need

EVENT = EventTemplate(1, "hello", (), 1700000000)
MASTER = "5f" * 32
PUBKEY = "ab" * 32

Make = Callable[[], Protector]


def refused(code: NSEErrorCode, call: Callable[[], object]) -> str:
    with pytest.raises(NSEError) as raised:
        call()
    message = str(raised.value)
    assert raised.value.code is code, message
    assert "\n" not in message
    return message


def key_of(protector: Protector, params: Any, pubkey: str = PUBKEY) -> bytes:
    out = bytearray(32)
    protector.recover(pubkey, params, memoryview(out))
    return bytes(out)


def made_by(protector: Protector) -> tuple[bytes, dict[str, Any]]:
    out = bytearray(32)
    params = dict(protector.create(PUBKEY, memoryview(out)))
    assert any(out)
    return bytes(out), params


def test_device_opens_what_it_sealed(make: Make) -> None:
    """A key sealed by a device signs through another instance of its protector."""
    storage = MemoryStorage()
    with NSE(storage=storage, protector=make()) as nse:
        info = nse.generate(unrecoverable=True)
        assert info.hardware_backed == make().hardware
        assert make().device_bound
    with NSE(storage=storage, protector=make()) as nse:
        assert verify(nse.sign(EVENT)).pubkey == info.pubkey


def test_device_makes_fresh_keys(make: Make) -> None:
    """Two slots of one device have different wrapping keys, each found again by its own."""
    protector = make()
    (one, params_one), (two, params_two) = made_by(protector), made_by(protector)
    assert one != two
    assert key_of(protector, params_one) == one
    assert key_of(make(), params_two) == two


def test_device_alone_needs_a_refusal(make: Make) -> None:
    """No device is the only way to a key unless that is said to be wanted."""
    with NSE(protector=make()) as nse:
        refused(NSEErrorCode.HARDWARE_UNAVAILABLE, nse.generate)
        assert not nse.exists()


def test_rotation_with_a_device(make: Make) -> None:
    """A rotation makes the device's slot and the recovery slot anew, and both open."""
    storage = MemoryStorage()
    recovery = MasterKey(MASTER)
    with NSE(storage=storage, protector=make()) as nse:
        pubkey = nse.generate(recovery=recovery).pubkey
        nse.rotate(recovery)
    for protector in (make(), recovery):
        with NSE(storage=storage, protector=protector) as nse:
            assert nse.sign(EVENT).pubkey == pubkey


@pytest.mark.parametrize("bad", ["", "zz", "00" * 5000, 7])
def test_damaged_parameters(make: Make, bad: object) -> None:
    """Parameters that are not what the protector wrote are one NSEError, whatever they are."""
    protector = make()
    _, params = made_by(protector)
    for name, value in params.items():
        if value != bad:  # no PCRs is an empty text
            with pytest.raises(NSEError):
                key_of(protector, params | {name: bad})
    refused(NSEErrorCode.STORAGE_ERROR, lambda: key_of(protector, {}))


# TPM 2.0


def test_tpm_refuses_a_wrong_pin(tcti: str) -> None:
    """A wrong PIN, and none at all, are AUTH_FAILED."""
    key, params = made_by(Tpm2("2468", tcti=tcti))
    message = refused(NSEErrorCode.AUTH_FAILED, lambda: key_of(Tpm2("1111", tcti=tcti), params))
    assert "wrong PIN" in message
    refused(NSEErrorCode.AUTH_FAILED, lambda: key_of(Tpm2(tcti=tcti), params))
    assert key_of(Tpm2("2468", tcti=tcti), params) == key


def test_tpm_lockout_is_explained(tcti: str) -> None:
    """The TPM locks itself after wrong PINs; the error says so and how it is lifted."""
    need(shutil.which("tpm2_dictionarylockout"), "tpm2-tools is not installed")
    key, params = made_by(Tpm2("2468", tcti=tcti))
    environment = {**os.environ, "TPM2TOOLS_TCTI": tcti}
    command = ["tpm2_dictionarylockout", "--setup-parameters", "--max-tries=2"]
    command += ["--recovery-time=600", "--lockout-recovery-time=600"]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    try:
        messages = [
            refused(NSEErrorCode.AUTH_FAILED, lambda: key_of(Tpm2("1111", tcti=tcti), params))
            for _ in range(4)
        ]
        assert "locked itself" in messages[-1]
        refused(NSEErrorCode.AUTH_FAILED, lambda: key_of(Tpm2("2468", tcti=tcti), params))
    finally:
        clear = ["tpm2_dictionarylockout", "--clear-lockout"]
        subprocess.run(clear, check=True, env=environment, capture_output=True)
    assert key_of(Tpm2("2468", tcti=tcti), params) == key


@pytest.mark.parametrize("pin", [None, "2468"])
def test_tpm_pcr_policy(tcti: str, pin: str | None) -> None:
    """A slot bound to PCRs opens until one of them changes."""
    need(shutil.which("tpm2_pcrextend"), "tpm2-tools is not installed")
    protector = Tpm2(pin, pcrs="sha256:16", tcti=tcti)
    key, params = made_by(protector)
    assert key_of(protector, params) == key
    if pin:
        refused(NSEErrorCode.AUTH_FAILED, lambda: key_of(Tpm2("1111", tcti=tcti), params))
    extend = ["tpm2_pcrextend", "16:sha256=" + "11" * 32]
    environment = {**os.environ, "TPM2TOOLS_TCTI": tcti}
    subprocess.run(extend, check=True, env=environment, capture_output=True)
    message = refused(NSEErrorCode.AUTH_FAILED, lambda: key_of(protector, params))
    assert "PCR" in message


def test_tpm_absent(tmp_path: Path, tcti: str) -> None:
    """No TPM, a name that is none and PCRs that are none are HARDWARE_UNAVAILABLE."""
    for protector in (
        Tpm2("2468", tcti=f"device:{tmp_path}/tpm"),
        Tpm2("2468", tcti="nonsense"),
        Tpm2("2468", tcti=tcti, pcrs="nonsense"),
    ):
        refused(NSEErrorCode.HARDWARE_UNAVAILABLE, partial(made_by, protector))


# PKCS#11


def test_token_refuses_a_wrong_pin(token: Token) -> None:
    """A wrong PIN is AUTH_FAILED."""
    _, params = made_by(Pkcs11(token.module, token.label, token.pin))
    wrong = Pkcs11(token.module, token.label, "9999")
    refused(NSEErrorCode.AUTH_FAILED, lambda: key_of(wrong, params))


def test_token_absent(token: Token, tmp_path: Path) -> None:
    """A missing token, library or key is HARDWARE_UNAVAILABLE."""
    _, params = made_by(Pkcs11(token.module, token.label, token.pin))
    for protector in (
        Pkcs11(token.module, "other", token.pin),
        Pkcs11(str(tmp_path / "none.so"), token.label, token.pin),
        Pkcs11(token.module, token.label, token.pin, label="other"),
    ):
        changed = params | {"token": protector._token, "label": protector._label}
        refused(NSEErrorCode.HARDWARE_UNAVAILABLE, partial(key_of, protector, changed))


def test_token_key_does_not_leave(token: Token) -> None:
    """The token's private key is sensitive and can't be extracted."""
    import pkcs11

    made_by(Pkcs11(token.module, token.label, token.pin))
    found = pkcs11.lib(token.module).get_token(token_label=token.label)
    with found.open(user_pin=token.pin) as session:
        keys = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY})
        for key in list(keys):
            assert key[pkcs11.Attribute.SENSITIVE]
            assert not key[pkcs11.Attribute.EXTRACTABLE]


def test_token_binds_the_pubkey(token: Token) -> None:
    """What the token makes for one pubkey is no use for another."""
    protector = Pkcs11(token.module, token.label, token.pin)
    key, params = made_by(protector)
    assert key_of(protector, params, pubkey="cd" * 32) != key


def test_token_refuses_a_point_off_the_curve(token: Token) -> None:
    """A public key that is not on the curve never reaches the token."""
    protector = Pkcs11(token.module, token.label, token.pin)
    _, params = made_by(protector)
    changed = params | {"point": "04" + "11" * 64}
    refused(NSEErrorCode.STORAGE_ERROR, lambda: key_of(protector, changed))


# AWS KMS


def test_kms_binds_the_pubkey(kms: Kms) -> None:
    """What KMS made for one pubkey it does not decrypt for another."""
    protector = AwsKms(kms.key_id, endpoint=kms.endpoint)
    key, params = made_by(protector)
    assert key_of(protector, params) == key
    refused(NSEErrorCode.AUTH_FAILED, lambda: key_of(protector, params, pubkey="cd" * 32))


def test_kms_absent(kms: Kms) -> None:
    """An endpoint that does not answer and a key that is not there are HARDWARE_UNAVAILABLE."""
    unreachable = AwsKms(kms.key_id, endpoint="http://127.0.0.1:9")
    refused(NSEErrorCode.HARDWARE_UNAVAILABLE, lambda: made_by(unreachable))
    unknown = AwsKms("11111111-1111-1111-1111-111111111111", endpoint=kms.endpoint)
    refused(NSEErrorCode.HARDWARE_UNAVAILABLE, lambda: made_by(unknown))


# OS keyring


def test_keyring_item_is_lost(secret_service: None) -> None:
    """A slot whose item is not in the keyring is HARDWARE_UNAVAILABLE."""
    _, params = made_by(Keyring())
    changed = params | {"item": "00" * 16}
    refused(NSEErrorCode.HARDWARE_UNAVAILABLE, lambda: key_of(Keyring(), changed))


def test_keyring_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a session bus the keyring is HARDWARE_UNAVAILABLE."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    refused(NSEErrorCode.HARDWARE_UNAVAILABLE, lambda: made_by(Keyring()))


# Passphrase


@pytest.mark.parametrize("cost", [Argon2(memory_kib=8, passes=1), ScryptCost(log_n=4)])
def test_passphrase(cost: Argon2 | ScryptCost) -> None:
    """The same passphrase, in whatever code points it is typed, opens; another does not."""
    key, params = made_by(Passphrase("\u212b secret", cost))
    assert key_of(Passphrase(bytearray("\u00c5 secret".encode())), params) == key
    assert key_of(Passphrase("\u00c5 secreT"), params) != key


def test_default_passphrase_cost() -> None:
    """By default guessing takes Argon2id with 64 MiB and three passes."""
    _, params = made_by(Passphrase("correct horse"))
    assert (params["kdf"], params["m"], params["t"], params["p"]) == ("argon2id", 65536, 3, 1)


@pytest.mark.parametrize("bad", ["", "x" * 1025, "\ud800", bytearray(b"\xff")])
def test_bad_passphrase(bad: str | bytearray) -> None:
    """A passphrase that is empty, endless or no text is refused."""
    refused(NSEErrorCode.AUTH_FAILED, lambda: Passphrase(bad))


# Master key


@pytest.mark.parametrize(
    "content", [b"\x5f" * 32, b"5f" * 32, b"5F" * 32 + b"\n", b"5f" * 32 + b"\r\n"]
)
def test_master_key_file(tmp_path: Path, content: bytes) -> None:
    """A file holds the master key as 32 bytes or as hex with any line end."""
    path = tmp_path / "master"
    path.write_bytes(content)
    _, params = made_by(MasterKey(MASTER))
    assert key_of(MasterKey.from_file(path), params) == key_of(MasterKey(MASTER), params)


@pytest.mark.parametrize("content", [b"", b"\x5f" * 31, b"5g" * 32, b"5f" * 64, b"5f" * 32 + b" "])
def test_bad_master_key_file(tmp_path: Path, content: bytes) -> None:
    """A file that holds anything else is refused."""
    path = tmp_path / "master"
    path.write_bytes(content)
    refused(NSEErrorCode.HARDWARE_UNAVAILABLE, lambda: MasterKey.from_file(path))
    refused(NSEErrorCode.HARDWARE_UNAVAILABLE, lambda: MasterKey.from_file(tmp_path / "none"))


def test_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master key comes from the directory that systemd hands to the service, from no other."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    refused(NSEErrorCode.HARDWARE_UNAVAILABLE, MasterKey.from_credential)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "creds"))
    (tmp_path / "creds").mkdir()
    (tmp_path / "outside").write_text(MASTER)
    (tmp_path / "creds" / "bunker-master-key").write_text(MASTER)
    MasterKey.from_credential().close()
    refused(NSEErrorCode.HARDWARE_UNAVAILABLE, lambda: MasterKey.from_credential("../outside"))


# The registry


def no_secret(label: str) -> bytearray:
    raise AssertionError(label)


def test_all_protectors_are_registered() -> None:
    """Each of the project's protectors is found by its slot type."""
    assert {"raw", "passphrase", "tpm2", "pkcs11", "aws-kms", "keyring"} <= set(protector_types())


def test_protectors_from_options(tmp_path: Path) -> None:
    """Options make a protector, secrets are asked for, and a wrong option is named."""
    path = tmp_path / "master"
    path.write_text(MASTER)
    asked: list[str] = []

    def ask(label: str) -> bytearray:
        asked.append(label)
        return bytearray(b"5f" * 32)

    for slot_type, options in (
        ("raw", {"file": str(path)}),
        ("raw", {}),
        ("passphrase", {"kdf": "scrypt"}),
        ("tpm2", {"pcrs": "sha256:7"}),
        ("tpm2", {"pin": "no"}),
        ("pkcs11", {"module": "/m.so", "token": "t"}),
        ("aws-kms", {"key": "alias/x", "region": "eu-central-1"}),
        ("keyring", {}),
    ):
        assert make_protector(slot_type, options, ask).type == slot_type
        message = refused(
            NSEErrorCode.HARDWARE_UNAVAILABLE,
            partial(make_protector, slot_type, {**options, "colour": "red"}, ask),
        )
        assert "colour" in message
    assert len(asked) == 4
    for slot_type in ("pkcs11", "aws-kms"):
        refused(
            NSEErrorCode.HARDWARE_UNAVAILABLE, partial(make_protector, slot_type, {}, no_secret)
        )
    message = refused(
        NSEErrorCode.HARDWARE_UNAVAILABLE, lambda: make_protector("tpm9", {}, no_secret)
    )
    assert "passphrase" in message


def test_third_party_protector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that declares the entry point has its slot type found."""
    (tmp_path / "stranger.py").write_text(
        "class Stranger:\n"
        "    type, hardware, device_bound = 'stranger', False, False\n"
        "    def create(self, pubkey, key):\n"
        "        key[:] = b'\\1' * 32\n"
        "        return {'made': pubkey}\n"
        "    def recover(self, pubkey, params, key):\n"
        "        key[:] = b'\\1' * 32\n"
        "def make(options, ask):\n"
        "    return Stranger()\n"
    )
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bunker_signer.protectors]\nstranger = stranger:make\n")
    monkeypatch.syspath_prepend(tmp_path)
    protector = make_protector("stranger", {}, no_secret)
    storage = MemoryStorage()
    with NSE(storage=storage, protector=protector) as nse:
        nse.generate()
        verify(nse.sign(EVENT))
    assert json.loads(storage.get("nse:blob") or "")["slots"][0]["type"] == "stranger"


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library a protector says what to install."""
    for library, protector, package in (
        ("tpm2_pytss", Tpm2(), "tpm2-pytss"),
        ("pkcs11", Pkcs11("m", "t", "1234"), "python-pkcs11"),
        ("boto3", AwsKms("k"), "boto3"),
        ("secretstorage", Keyring(), "SecretStorage"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, library, None)
            message = refused(NSEErrorCode.HARDWARE_UNAVAILABLE, partial(made_by, protector))
        assert package.lower() in message.lower()
