"""The real peers of the hardware protectors: swtpm, SoftHSM, moto's AWS and gnome-keyring."""

# mypy: disable-error-code="import-untyped,import-not-found"

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bunker_signer.nse.wrap import Protector
from support.dbus import session_bus
from support.require import need

SOFTHSM_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
)
START_DEADLINE = 30.0


@pytest.fixture(scope="session")
def tcti(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh software TPM, by its TCTI name."""
    need(importlib.util.find_spec("tpm2_pytss"), "tpm2-pytss is not installed")
    need(shutil.which("swtpm") and shutil.which("swtpm_setup"), "swtpm is not installed")
    state = tmp_path_factory.mktemp("swtpm")
    run("swtpm_setup", "--tpm2", "--tpmstate", str(state), "--lock-nvram", "--overwrite")
    port = free_ports()
    process = subprocess.Popen(
        [
            "swtpm",
            "socket",
            "--tpm2",
            "--tpmstate",
            f"dir={state}",
            "--server",
            f"type=tcp,port={port}",
            "--ctrl",
            f"type=tcp,port={port + 1}",
            "--flags",
            "not-need-init,startup-clear",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port + 1, process)
        yield f"swtpm:host=127.0.0.1,port={port}"
    finally:
        end(process)


@dataclass(frozen=True)
class Token:
    module: str
    label: str
    pin: str


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """A fresh SoftHSM token."""
    need(importlib.util.find_spec("pkcs11"), "python-pkcs11 is not installed")
    need(shutil.which("softhsm2-util"), "softhsm2 is not installed")
    module = next(filter(os.path.exists, SOFTHSM_MODULES), None)
    need(module, "SoftHSM's library is not where it is looked for")
    directory = tmp_path_factory.mktemp("softhsm")
    config = directory / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {directory}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(config)
    made = Token(str(module), "bunker-test", "1234")
    run(
        "softhsm2-util",
        *("--init-token", "--free", "--label", made.label),
        *("--pin", made.pin, "--so-pin", "5678"),
    )
    yield made
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@dataclass(frozen=True)
class Kms:
    key_id: str
    endpoint: str


@pytest.fixture(scope="session")
def kms() -> Iterator[Kms]:
    """A KMS key in moto's server, spoken to over HTTP as AWS is."""
    need(importlib.util.find_spec("boto3"), "boto3 is not installed")
    need(shutil.which("moto_server", path=scripts()), "moto's server is not installed")
    port = free_ports()
    process = subprocess.Popen(
        [str(shutil.which("moto_server", path=scripts())), "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        wait_for_port(port, process)
        import boto3

        endpoint = f"http://127.0.0.1:{port}"
        client = boto3.client("kms", endpoint_url=endpoint)
        key_id = client.create_key()["KeyMetadata"]["KeyId"]
        client.close()
        yield Kms(key_id, endpoint)
    finally:
        end(process)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def secret_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A session bus with an unlocked gnome-keyring of its own."""
    need(importlib.util.find_spec("secretstorage"), "secretstorage is not installed")
    need(shutil.which("gnome-keyring-daemon"), "gnome-keyring is not installed")
    home = tmp_path_factory.mktemp("keyring")
    with session_bus() as address, pytest.MonkeyPatch.context() as environment:
        environment.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        folders = ("HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
        daemon = subprocess.Popen(
            ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | dict.fromkeys(folders, str(home)),
        )
        assert daemon.stdin is not None
        daemon.stdin.write(b"test")
        daemon.stdin.close()
        try:
            wait_for_service("org.freedesktop.secrets", daemon)
            yield
        finally:
            end(daemon)


Make = Callable[[], Protector]


@pytest.fixture
def make_tpm2(tcti: str) -> Make:
    from bunker_signer.nse.wrap.tpm2 import Tpm2

    return lambda: Tpm2("2468", tcti=tcti)


@pytest.fixture
def make_pkcs11(token: Token) -> Make:
    from bunker_signer.nse.wrap.pkcs11 import Pkcs11

    return lambda: Pkcs11(token.module, token.label, token.pin)


@pytest.fixture
def make_kms(kms: Kms) -> Make:
    from bunker_signer.nse.wrap.aws_kms import AwsKms

    return lambda: AwsKms(kms.key_id, endpoint=kms.endpoint)


@pytest.fixture
def make_keyring(secret_service: None) -> Make:
    from bunker_signer.nse.wrap.keyring import Keyring

    return Keyring


@pytest.fixture(params=["tpm2", "pkcs11", "kms", "keyring"])
def make(request: pytest.FixtureRequest) -> Make:
    """Each device or service in turn: a function that makes its protector afresh."""
    made: Make = request.getfixturevalue(f"make_{request.param}")
    return made


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def scripts() -> str:
    """Where the test environment's own commands are, then everybody's."""
    import sys

    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def free_ports() -> int:
    """Return a port that is free, and the next one too."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    def connects() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    _wait(connects, process)


def wait_for_service(name: str, process: subprocess.Popen[bytes]) -> None:
    from jeepney import DBusAddress, new_method_call
    from jeepney.io.blocking import open_dbus_connection

    def owned() -> bool:
        bus = DBusAddress(
            "/org/freedesktop/DBus",
            bus_name="org.freedesktop.DBus",
            interface="org.freedesktop.DBus",
        )
        with open_dbus_connection(bus="SESSION") as connection:
            reply = connection.send_and_get_reply(
                new_method_call(bus, "NameHasOwner", "s", (name,))
            )
            return bool(reply.body[0])

    _wait(owned, process)


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Ask again until it is so: other programs say in no other way that they are up."""
    give_up = time.monotonic() + START_DEADLINE
    while not ready():
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < give_up, f"{process.args!r} does not come up"
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(START_DEADLINE)


def fresh_name() -> str:
    return f"t{uuid.uuid4().hex[:8]}"
